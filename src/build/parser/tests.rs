//! What every instruction takes and refuses.

use super::*;
use crate::build::instruction::Copy;

fn steps(text: &str) -> Vec<Instruction> {
    let file = parse("Dockerfile", &format!("FROM scratch\n{text}\n")).unwrap();
    let mut steps = file.stages.into_iter().flat_map(|s| s.steps);
    steps.by_ref().map(|s| s.instruction).collect()
}

fn one(text: &str) -> Instruction {
    steps(text).pop().unwrap()
}

fn refused(text: &str) -> Error {
    parse("Dockerfile", &format!("FROM scratch\n{text}\n")).unwrap_err()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    let pair = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
    list.iter().map(pair).collect()
}

#[test]
fn stages_have_names_platforms_and_comments() {
    let file = parse(
        "Dockerfile",
        "ARG V=1 W\n# the base\nFROM --platform=$BUILDPLATFORM a:$V AS Base\nRUN x\nfrom base\n",
    )
    .unwrap();
    assert_eq!(file.globals.len(), 2);
    let first = &file.stages[0];
    assert_eq!((first.name.as_deref(), first.line), (Some("base"), 3));
    assert_eq!(first.name_as_written.as_deref(), Some("Base"));
    assert_eq!(first.platform.as_deref(), Some("$BUILDPLATFORM"));
    assert_eq!(first.comment, "the base");
    assert_eq!(file.stages[1].base, "base");
}

#[test]
fn commands_have_two_forms() {
    assert_eq!(
        one("CMD [\"a\", \"b c\"]"),
        Instruction::Cmd(Command::Exec(vec!["a".into(), "b c".into()]))
    );
    assert_eq!(
        one("ENTRYPOINT [ -f x ] && y"),
        Instruction::Entrypoint(Command::Shell("[ -f x ] && y".into()))
    );
    assert_eq!(one("CMD"), Instruction::Cmd(Command::Shell(String::new())));
    assert_eq!(one("CMD []"), Instruction::Cmd(Command::Exec(Vec::new())));
    assert!(refused("CMD [1, 2]").what().contains("strings only"));
}

#[test]
fn pairs_come_in_both_forms() {
    assert_eq!(
        one(r#"ENV a=1 b="x y" c=x\ y d='$z'"#),
        Instruction::Env(pairs(&[
            ("a", "1"),
            ("b", "\"x y\""),
            ("c", r"x\ y"),
            ("d", "'$z'")
        ]))
    );
    assert_eq!(
        one("ENV a some  text"),
        Instruction::Env(pairs(&[("a", "some  text")]))
    );
    assert_eq!(
        one("LABEL \"a b\"=c"),
        Instruction::Label(pairs(&[("\"a b\"", "c")]))
    );
    assert_eq!(
        one("ARG a b=c"),
        Instruction::Arg(vec![("a".into(), None), ("b".into(), Some("c".into()))])
    );
    assert!(refused("ENV a").what().contains("Dockerfile:2"));
    refused("ENV =x");
    refused("ENV a=b c");
    refused("LABEL");
}

#[test]
fn copies_take_their_flags_and_here_documents() {
    let text = "COPY --from=a --chown=1:2 --chmod=u+x --link --parents=false --exclude=x --exclude=y s t /d/";
    let Instruction::Copy(copy) = one(text) else {
        unreachable!("{text}");
    };
    let want = Copy {
        sources: vec!["s".into(), "t".into()],
        destination: "/d/".into(),
        from: Some("a".into()),
        chown: Some("1:2".into()),
        chmod: Some("u+x".into()),
        link: true,
        exclude: vec!["x".into(), "y".into()],
        ..Copy::default()
    };
    assert_eq!(*copy, want);
    let Instruction::Copy(copy) = one("COPY a <<B <<-\"C\" /d/\nb\nB\n\tc\nC") else {
        unreachable!();
    };
    assert_eq!(copy.sources, ["a"]);
    assert_eq!(copy.heredocs.len(), 2);
    assert!(!copy.heredocs[1].expand && copy.heredocs[0].expand);
    let Instruction::Copy(add) =
        one("ADD --checksum=sha256:x --keep-git-dir --unpack=false [\"a b\", \"/c\"]")
    else {
        unreachable!();
    };
    assert!(add.add && add.keep_git_dir && add.unpack == Some(false));
    assert_eq!(add.sources, ["a b"]);
    refused("COPY a");
    refused("COPY a b c");
    refused("COPY --from=$x a b");
    refused("COPY --checksum=x a b");
    refused("ADD --from=x a b");
    refused("COPY --link --link a b");
    refused("COPY --chown a b");
    refused("COPY --parents=x a b");
}

#[test]
fn runs_take_their_flags() {
    let text = "RUN --mount=type=cache,target=/x --mount=type=tmpfs,target=/t --network=none --security=insecure --device=a/b=c make --x";
    let Instruction::Run(run) = one(text) else {
        unreachable!("{text}");
    };
    assert_eq!(run.command, Command::Shell("make --x".into()));
    assert_eq!((run.mounts.len(), run.network), (2, RunNetwork::None));
    assert!(run.insecure && run.devices == ["a/b=c"]);
    let Instruction::Run(run) = one("RUN <<EOF\necho $x\nEOF") else {
        unreachable!();
    };
    assert_eq!(run.heredocs[0].content, "echo $x\n");
    refused("RUN");
    refused("RUN []");
    refused("RUN --network=bridge x");
    refused("RUN --privileged x");
}

#[test]
fn the_rest_is_read_and_checked() {
    assert_eq!(
        one("HEALTHCHECK --interval=30s --retries=3 CMD [\"x\"]"),
        Instruction::Healthcheck(Health {
            command: Some(Command::Exec(vec!["x".into()])),
            interval: 30_000_000_000,
            retries: 3,
            ..Health::default()
        })
    );
    assert_eq!(
        one("healthcheck none"),
        Instruction::Healthcheck(Health::default())
    );
    assert_eq!(
        one("VOLUME [\"/a b\"]"),
        Instruction::Volume(vec!["/a b".into()])
    );
    assert_eq!(
        one("VOLUME /a /b"),
        Instruction::Volume(vec!["/a".into(), "/b".into()])
    );
    assert_eq!(one("SHELL [\"sh\"]"), Instruction::Shell(vec!["sh".into()]));
    assert_eq!(
        one("EXPOSE 80 $p/udp"),
        Instruction::Expose(vec!["80".into(), "$p/udp".into()])
    );
    assert_eq!(one("WORKDIR /a b"), Instruction::Workdir("/a b".into()));
    assert_eq!(
        one("ONBUILD run x --y"),
        Instruction::OnBuild("RUN x --y".into())
    );
    assert_eq!(
        one("ONBUILD COPY --from=x a b"),
        Instruction::OnBuild("COPY --from=x a b".into())
    );
    refused("SHELL sh -c");
    refused("HEALTHCHECK x");
    refused("HEALTHCHECK --interval=1us CMD x");
    refused("ONBUILD FROM x");
    refused("ONBUILD COPY a");
    refused("VOLUME [\"\"]");
    refused("USER");
}

#[test]
fn mistakes_name_line_and_next_step() {
    let e = refused("\n# c\nCOPPY a b");
    assert!(e.what().contains("Dockerfile:4"), "{e}");
    assert!(e.hints().iter().any(|h| h.contains("COPY")), "{e}");
    assert!(refused("RNU x").hints().iter().any(|h| h.contains("RUN")));
    for text in [
        "",
        "# x\n",
        "ARG x\n",
        "RUN x\nFROM a\n",
        "FROM\n",
        "FROM a b\n",
        "FROM a AS 1x\n",
    ] {
        let e = parse("Dockerfile", text).unwrap_err();
        assert!(!e.hints().is_empty(), "{text}: {e}");
    }
}

#[test]
fn triggers_are_parsed_when_they_are_used() {
    let step = trigger("COPY . /src", 3).unwrap();
    assert_eq!(step.instruction.word(), "COPY");
    let step = trigger("RUN <<E\nx\nE", 3).unwrap();
    assert!(matches!(step.instruction, Instruction::Run(run) if run.heredocs.len() == 1));
    for bad in ["FROM x", "ONBUILD RUN x", "", "RUN a\nRUN b"] {
        assert!(trigger(bad, 1).is_err(), "{bad}");
    }
}
