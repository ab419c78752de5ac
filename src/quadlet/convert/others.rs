//! `.volume`, `.network`, `.image`, `.build`, `.artifact`.

use super::{Maker, resource_name};
use crate::base::Result;
use crate::quadlet::keys::Kind;

pub(super) fn volume(maker: &mut Maker<'_>) -> Result<()> {
    let mut command = maker.command(&["volume", "create", "--ignore"])?;
    let c = &mut command;
    let driver = maker.last("Driver");
    maker.texts(&[("Driver", "--driver")], c);
    if driver.as_deref() == Some("image") {
        let image = maker
            .last("Image")
            .ok_or_else(|| maker.bad("Driver", "Image= is not given"))?;
        let image = maker.image(image)?;
        c.extend(["--opt".to_owned(), format!("image={image}")]);
    } else {
        let mut words = Vec::new();
        for (key, word) in [("User", "uid"), ("Group", "gid")] {
            if let Some(text) = maker.last(key) {
                let id: u32 = text
                    .parse()
                    .map_err(|_| maker.bad(key, format!("{text:?} is no number")))?;
                words.push(format!("{word}={id}"));
            }
        }
        match maker.switch("Copy")? {
            Some(true) => c.extend(["--opt".to_owned(), "copy".to_owned()]),
            Some(false) => c.extend(["--opt".to_owned(), "nocopy".to_owned()]),
            None => {}
        }
        let device = maker.last("Device");
        for key in ["Type", "Options"] {
            if device.is_none() && maker.last(key).is_some() {
                return Err(maker.bad(key, "Device= is not given"));
            }
        }
        if let Some(device) = device {
            c.extend(["--opt".to_owned(), format!("device={device}")]);
            if let Some(kind) = maker.last("Type") {
                c.extend(["--opt".to_owned(), format!("type={kind}")]);
                if kind == "bind" {
                    maker.service.push("Unit", "RequiresMountsFor", device);
                }
            }
        }
        words.extend(maker.last("Options"));
        if !words.is_empty() {
            c.extend(["--opt".to_owned(), format!("o={}", words.join(","))]);
        }
    }
    maker.pairs(&[("Label", "--label")], c)?;
    maker.more(c)?;
    c.push(resource_name(maker.source));
    maker.exec("ExecStart", &command);
    maker.oneshot(true);
    Ok(())
}

pub(super) fn network(maker: &mut Maker<'_>) -> Result<()> {
    let name = resource_name(maker.source);
    if maker.switch("NetworkDeleteOnStop")? == Some(true) {
        let remove = maker.command(&["network", "rm", &name])?;
        maker.exec("ExecStopPost", &remove);
    }
    let mut command = maker.command(&["network", "create", "--ignore"])?;
    let c = &mut command;
    maker.switches(
        &[
            ("DisableDNS", "--disable-dns"),
            ("Internal", "--internal"),
            ("IPv6", "--ipv6"),
        ],
        c,
    )?;
    maker.texts(
        &[
            ("Driver", "--driver"),
            ("IPAMDriver", "--ipam-driver"),
            ("InterfaceName", "--interface-name"),
        ],
        c,
    );
    maker.lists(&[("DNS", "--dns")], c);
    let subnets = maker.all("Subnet");
    for (key, flag) in [("Gateway", "--gateway"), ("IPRange", "--ip-range")] {
        if maker.all(key).len() > subnets.len() {
            let why = format!("there are more of them than of Subnet=, for {flag}");
            return Err(maker.bad(key, why));
        }
    }
    let (gateways, ranges) = (maker.all("Gateway"), maker.all("IPRange"));
    for (at, subnet) in subnets.into_iter().enumerate() {
        c.extend(["--subnet".to_owned(), subnet]);
        for (flag, list) in [("--gateway", &gateways), ("--ip-range", &ranges)] {
            if let Some(value) = list.get(at) {
                c.extend([flag.to_owned(), value.clone()]);
            }
        }
    }
    maker.pairs(&[("Options", "--opt"), ("Label", "--label")], c)?;
    maker.more(c)?;
    c.push(name);
    maker.exec("ExecStart", &command);
    maker.oneshot(true);
    Ok(())
}

pub(super) fn image(maker: &mut Maker<'_>) -> Result<()> {
    let image = maker
        .last("Image")
        .ok_or_else(|| maker.bad("Image", "it is not given"))?;
    let mut command = maker.command(&["image", "pull"])?;
    let c = &mut command;
    maker.texts(
        &[
            ("Arch", "--arch"),
            ("AuthFile", "--authfile"),
            ("CertDir", "--cert-dir"),
            ("Creds", "--creds"),
            ("OS", "--os"),
            ("Policy", "--policy"),
            ("Variant", "--variant"),
            ("Retry", "--retry"),
            ("RetryDelay", "--retry-delay"),
        ],
        c,
    );
    maker.switches(
        &[("AllTags", "--all-tags"), ("TLSVerify", "--tls-verify")],
        c,
    )?;
    maker.more(c)?;
    c.push(image);
    maker.exec("ExecStart", &command);
    maker.oneshot(true);
    Ok(())
}

pub(super) fn artifact(maker: &mut Maker<'_>) -> Result<()> {
    let name = maker
        .last("Artifact")
        .ok_or_else(|| maker.bad("Artifact", "it is not given"))?;
    let mut command = maker.command(&["artifact", "pull"])?;
    let c = &mut command;
    maker.texts(
        &[
            ("AuthFile", "--authfile"),
            ("CertDir", "--cert-dir"),
            ("Creds", "--creds"),
            ("Retry", "--retry"),
            ("RetryDelay", "--retry-delay"),
        ],
        c,
    );
    maker.switches(&[("Quiet", "--quiet"), ("TLSVerify", "--tls-verify")], c)?;
    maker.more(c)?;
    c.push(name);
    maker.exec("ExecStart", &command);
    maker.oneshot(true);
    Ok(())
}

pub(super) fn build(maker: &mut Maker<'_>) -> Result<()> {
    if maker.all("ImageTag").is_empty() {
        return Err(maker.bad("ImageTag", "it is not given"));
    }
    let mut command = maker.command(&["build"])?;
    let c = &mut command;
    if let Some(policy) = maker.last("Pull") {
        // A word of its own would be the context.
        c.push(format!("--pull={policy}"));
    }
    maker.texts(
        &[
            ("Arch", "--arch"),
            ("AuthFile", "--authfile"),
            ("Target", "--target"),
            ("Variant", "--variant"),
            ("Retry", "--retry"),
            ("RetryDelay", "--retry-delay"),
        ],
        c,
    );
    maker.switches(
        &[("TLSVerify", "--tls-verify"), ("ForceRM", "--force-rm")],
        c,
    )?;
    maker.lists(
        &[
            ("DNS", "--dns"),
            ("DNSOption", "--dns-option"),
            ("DNSSearch", "--dns-search"),
            ("GroupAdd", "--group-add"),
            ("ImageTag", "--tag"),
        ],
        c,
    );
    maker.pairs(
        &[
            ("BuildArg", "--build-arg"),
            ("Environment", "--env"),
            ("Label", "--label"),
            ("Annotation", "--annotation"),
        ],
        c,
    )?;
    maker.networks(c)?;
    for secret in maker.words("Secret", true)? {
        c.extend(["--secret".to_owned(), secret]);
    }
    maker.volumes(c)?;
    if let Some(file) = maker.last("IgnoreFile") {
        c.extend(["--ignorefile".to_owned(), maker.absolute(&file)]);
    }
    let context = working_directory(maker)?;
    let file = maker.last("File");
    let folder = maker.service.last("Service", "WorkingDirectory");
    if context.is_none() && file.is_none() && folder.is_none() {
        return Err(maker.bad(
            "SetWorkingDirectory",
            "neither it nor File= nor WorkingDirectory= is given",
        ));
    }
    if let Some(file) = &file {
        c.extend(["--file".to_owned(), file.clone()]);
    }
    maker.more(c)?;
    let relative = |f: &String| !f.starts_with('/') && !is_url(f);
    match (context, &file, folder) {
        (Some(context), ..) => c.push(context),
        (None, Some(file), None) if relative(file) => {
            return Err(maker.bad("File", "a relative path needs SetWorkingDirectory="));
        }
        (None, Some(file), _) if !relative(file) => {}
        (None, _, Some(folder)) => c.push(folder),
        (None, _, None) => {}
    }
    maker.exec("ExecStart", &command);
    maker.oneshot(false);
    Ok(())
}

pub(super) fn is_url(text: &str) -> bool {
    ["http://", "https://", "git://", "github.com/"]
        .iter()
        .any(|p| text.starts_with(p))
        || text.ends_with(".git")
}

/// `SetWorkingDirectory=`: the build context, where it is that; else the service's folder is set.
pub(super) fn working_directory(maker: &mut Maker<'_>) -> Result<Option<String>> {
    const KEY: &str = "SetWorkingDirectory";
    let Some(value) = maker.last(KEY) else {
        return Ok(None);
    };
    let (context, file) = match value.to_ascii_lowercase().as_str() {
        "unit" => (None, Some(maker.source.path.display().to_string())),
        "file" if maker.source.kind == Kind::Build => {
            let file = maker
                .last("File")
                .ok_or_else(|| maker.bad(KEY, "File= is not given"))?;
            (None, Some(file))
        }
        "yaml" if maker.source.kind == Kind::Kube => {
            let file = maker.last("Yaml");
            if file.as_deref().is_some_and(is_url) {
                return Err(maker.bad(KEY, "Yaml= is no file"));
            }
            (None, file)
        }
        _ if maker.source.kind == Kind::Kube => {
            return Err(maker.bad(KEY, format!("{value:?} is neither yaml nor unit")));
        }
        _ if value.starts_with('/') || is_url(&value) => (Some(value), None),
        _ => (Some(value), Some(maker.source.path.display().to_string())),
    };
    if maker
        .source
        .unit
        .last("Service", "WorkingDirectory")
        .is_some()
    {
        return Ok(context);
    }
    if let Some(file) = file {
        let whole = maker.absolute(&file);
        let folder = whole.rsplit_once('/').map_or("/", |(folder, _)| folder);
        maker.service.push("Service", "WorkingDirectory", folder);
    }
    Ok(context)
}

/// `UserNS=`, `UIDMap=`, `GIDMap=`, and what they replaced: `Remap…=`.
pub(super) fn mappings(maker: &Maker<'_>, command: &mut Vec<String>) -> Result<()> {
    let before = command.len();
    let texts = [
        ("UserNS", "--userns"),
        ("SubUIDMap", "--subuidname"),
        ("SubGIDMap", "--subgidname"),
    ];
    maker.texts(&texts, command);
    maker.word_lists(&[("UIDMap", "--uidmap"), ("GIDMap", "--gidmap")], command)?;
    let given = command.len() > before;
    let uids = maker.words("RemapUid", false)?;
    let gids = maker.words("RemapGid", false)?;
    let users = maker.last("RemapUsers");
    if given {
        for key in ["RemapUid", "RemapGid", "RemapUsers"] {
            if maker.last(key).is_some() {
                return Err(maker.bad(key, "another key of the user namespace is given as well"));
            }
        }
        return Ok(());
    }
    let one = |list: &[String], key: &str| match list {
        [_, _, ..] => Err(maker.bad(key, "RemapUsers=keep-id takes one")),
        list => Ok(list.first().cloned()),
    };
    match users.as_deref() {
        None => {
            for key in ["RemapUid", "RemapGid"] {
                if maker.last(key).is_some() {
                    return Err(maker.bad(key, "RemapUsers= is not given"));
                }
            }
        }
        Some("manual") if maker.source.kind != Kind::Kube => {
            for (flag, list) in [("--uidmap", uids), ("--gidmap", gids)] {
                for map in list {
                    command.extend([flag.to_owned(), map]);
                }
            }
        }
        Some("auto") => {
            let mut options: Vec<String> = Vec::new();
            options.extend(uids.iter().map(|m| format!("uidmapping={m}")));
            options.extend(gids.iter().map(|m| format!("gidmapping={m}")));
            options.extend(maker.last("RemapUidSize").map(|s| format!("size={s}")));
            command.extend(["--userns".to_owned(), with_options("auto", &options)]);
        }
        Some("keep-id") => {
            let mut options: Vec<String> = Vec::new();
            options.extend(one(&uids, "RemapUid")?.map(|u| format!("uid={u}")));
            options.extend(one(&gids, "RemapGid")?.map(|g| format!("gid={g}")));
            command.extend(["--userns".to_owned(), with_options("keep-id", &options)]);
        }
        Some(other) => {
            return Err(maker.bad(
                "RemapUsers",
                match maker.source.kind {
                    Kind::Kube => format!("{other:?} is neither auto nor keep-id"),
                    _ => format!("{other:?} is not one of auto, keep-id, manual"),
                },
            ));
        }
    }
    Ok(())
}

fn with_options(mode: &str, options: &[String]) -> String {
    match options.is_empty() {
        true => mode.to_owned(),
        false => format!("{mode}:{}", options.join(",")),
    }
}
