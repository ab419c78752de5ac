//! The frame that every command hangs in: a table of entries instead of a tree of enums.
//!
//! How to add a command: one file, `cli/<noun>/<verb>.rs`, with
//!
//! ```ignore
//! /// First paragraph (replaced by the entry's line). Second paragraph on: the long help.
//! #[derive(Debug, clap::Args)]
//! pub struct PauseArgs { /* the fields' doc comments are the help */ }
//!
//! /// Runs `pause`; answers the exit code.
//! pub fn run(args: PauseArgs, session: &mut Session, out: &mut Out) -> Result<u8> { … }
//! ```
//!
//! then one line in one table of `cli/<noun>/mod.rs`: `BOTH` (`coracle pause` and
//! `coracle container pause`), `TOP` or `NOUN` (one of the two only):
//!
//! ```ignore
//! command!("pause", "Freeze all processes of containers", pause::PauseArgs, pause::run),
//! command!("ps", "List containers", ps::PsArgs, ps::run).aliases(&["ls", "list"]),
//! command!("cleanup", "…", cleanup::CleanupArgs, cleanup::run).hidden(),
//! ```
//!
//! What the frame does to every command, so that no command has to:
//! - its options are built only when it is the one that runs (`Command::defer`);
//! - every `bool` takes `--flag`, `--flag=true`, `--flag=false`; so does every `Option<bool>`;
//! - an option's value may begin with a hyphen; an option given again replaces (or adds to) the
//!   first; an option with the letter `h` takes it away from help.
//!
//! A command line that ends its options at the first word (`run IMAGE …`, `exec CONTAINER …`)
//! takes ONE positional `Vec<String>` with `#[arg(required = true, trailing_var_arg = true)]` and
//! without `allow_hyphen_values`: then unknown options before the image are refused, and
//! everything after it is left alone.

use std::cell::{Cell, RefCell};

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::output::Out;
use crate::base::Result;
use crate::operations::session::Session;

/// One command, or a noun with commands below it.
pub struct Entry {
    /// The word typed.
    pub name: &'static str,
    /// Other words for it.
    pub aliases: &'static [&'static str],
    /// One line, imperative, at most 72 characters, no full stop.
    pub about: &'static str,
    /// Whether help and completion leave it out.
    pub hidden: bool,
    /// Adds the options, or the commands below.
    pub augment: fn(Command) -> Command,
    /// What runs.
    pub action: Action,
}

/// What an entry does.
pub enum Action {
    /// A command.
    Run(fn(&mut ArgMatches, &mut Session, &mut Out) -> Result<u8>),
    /// A noun.
    Group(&'static [&'static [Entry]]),
}

impl Entry {
    /// Other words for it.
    #[must_use]
    pub const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// Left out of help and completion.
    #[must_use]
    pub const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.name)
            .about(self.about)
            .hide(self.hidden)
            .defer(self.augment);
        for alias in self.aliases {
            command = command.visible_alias(*alias);
        }
        command
    }

    fn answers_to(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }
}

/// An entry of a command: `command!(name, about, ArgsType, run_function)`.
#[macro_export]
macro_rules! command {
    ($name:literal, $about:literal, $args:ty, $run:path $(,)?) => {
        $crate::cli::frame::Entry {
            name: $name,
            aliases: &[],
            about: $about,
            hidden: false,
            augment: $crate::cli::frame::augment::<$args>,
            action: $crate::cli::frame::Action::Run(|matches, session, out| {
                $run($crate::cli::frame::parse::<$args>(matches)?, session, out)
            }),
        }
    };
}

/// An entry of a noun: `noun!(name, about, TABLE, …)`.
#[macro_export]
macro_rules! noun {
    ($name:literal, $about:literal, $($table:path),+ $(,)?) => {
        $crate::cli::frame::Entry {
            name: $name,
            aliases: &[],
            about: $about,
            hidden: false,
            augment: |command| {
                $(let command = $crate::cli::frame::add(command, $table);)+
                $crate::cli::frame::prepare(command)
                    .subcommand_required(true)
                    .disable_help_subcommand(true)
            },
            action: $crate::cli::frame::Action::Group(&[$($table),+]),
        }
    };
}

/// Adds the commands of a table.
pub fn add(command: Command, table: &[Entry]) -> Command {
    command.subcommands(table.iter().map(Entry::command))
}

/// Adds the options of a command and applies the rules of the frame.
pub fn augment<A: clap::Args>(command: Command) -> Command {
    if SCOPE.with_borrow(|scope| matches!(scope, Scope::Line(_))) {
        return prepare(A::augment_args(command));
    }
    let line = command.get_about().map(ToString::to_string);
    let command = prepare(super::globals::add_persistent(A::augment_args(command)));
    // The struct's first paragraph gives way to the entry's line.
    let long = command.get_long_about().map(ToString::to_string);
    let more = long.as_deref().and_then(|l| l.split_once("\n\n"));
    let about = match (line, more) {
        (Some(line), Some((_, more))) => format!("{line}\n\n{more}"),
        (line, _) => line.unwrap_or_default(),
    };
    command.about(about).long_about(None)
}

/// Reads a command's arguments from what clap matched.
///
/// # Errors
/// `Internal` when the struct and the tree disagree, which the tests exclude.
pub fn parse<A: clap::Args>(matches: &mut ArgMatches) -> Result<A> {
    A::from_arg_matches_mut(matches).map_err(|e| super::usage::explain(&e))
}

/// The arguments of a command from words that other code made.
///
/// # Errors
/// As a command line's.
pub fn args_of<A: clap::Args>(words: &[String]) -> Result<A> {
    whole();
    let_flags_take_values(true);
    let command = prepare(A::augment_args(Command::new("words").no_binary_name(true)));
    let matches = command.try_get_matches_from(words);
    let_flags_take_values(false);
    parse(&mut matches.map_err(|e| super::usage::explain(&e))?)
}

/// What the tree that is built now must be able to do.
#[derive(Clone, Debug, Default)]
enum Scope {
    /// Everything.
    #[default]
    Whole,
    /// Parse this command line, if it is a good one.
    Line(Mentioned),
}

/// The options that a command line may mention: more than it does, never less.
#[derive(Clone, Debug, Default)]
struct Mentioned {
    /// The long ones, and whether a word with a hyphen follows.
    longs: Vec<(String, bool)>,
    /// Words of letters, and the same.
    letters: Vec<(String, bool)>,
}

impl Mentioned {
    fn by(words: &[String]) -> Self {
        let mut mentioned = Self::default();
        for (at, word) in words.iter().enumerate() {
            let hyphen = words.get(at + 1).is_some_and(|next| next.starts_with('-'));
            if let Some(long) = word.strip_prefix("--") {
                let name = long.split('=').next().unwrap_or_default();
                mentioned.longs.push((name.to_owned(), hyphen));
            } else if let Some(letters) = word.strip_prefix('-') {
                mentioned.letters.push((letters.to_owned(), hyphen));
            }
        }
        mentioned
    }

    fn long(&self, name: &str) -> bool {
        self.longs.iter().any(|(l, _)| l == name)
    }

    /// Whether the line may mention an option, and if so, whether a hyphen may begin its value.
    fn covers(&self, arg: &Arg) -> Option<bool> {
        let longs = self.longs.iter().filter(|(l, _)| {
            arg.get_long() == Some(l)
                || arg
                    .get_all_aliases()
                    .is_some_and(|all| all.into_iter().any(|a| a == l))
        });
        let letters = self.letters.iter().filter(|(l, _)| {
            arg.get_short().is_some_and(|s| l.contains(s))
                || arg
                    .get_all_short_aliases()
                    .is_some_and(|all| all.into_iter().any(|s| l.contains(s)))
        });
        longs
            .chain(letters)
            .map(|(_, hyphen)| *hyphen)
            .reduce(|a, b| a | b)
    }

    /// Whether [`grammar`] changes how the line is read.
    fn needs_grammar(&self, arg: &Arg, takes_values: bool) -> bool {
        self.covers(arg)
            .is_some_and(|hyphen| match arg.get_action() {
                ArgAction::SetTrue => takes_values,
                _ if is_bool(arg) => true,
                // `-e-x` too has a value that begins so.
                _ => hyphen || arg.get_short().is_some(),
            })
    }
}

thread_local! {
    static SCOPE: RefCell<Scope> = const { RefCell::new(Scope::Whole) };

    /// Whether plain flags also take `=true` and `=false`. Off at first, so that help shows
    /// `--rm` and not `--rm[=…]`; on for the second try at a command line.
    static FLAGS_TAKE_VALUES: Cell<bool> = const { Cell::new(false) };
}

/// From now on, trees are built whose flags take `=true` and `=false`.
pub fn let_flags_take_values(on: bool) {
    FLAGS_TAKE_VALUES.set(on);
}

/// The part of the tree that a command line needs, so that a start does not pay for hundreds of
/// options that it does not mention. It parses a good line of a command as the whole tree does;
/// what it refuses must be asked of the whole one, which also has the help and the suggestions.
/// `None` when the line does not begin with a command.
pub fn lean(tables: &[&'static [Entry]], words: &[String]) -> Option<Command> {
    let name = words.get(1)?;
    let mentioned = Mentioned::by(words);
    if super::globals::may_follow(|long| mentioned.long(long)) {
        return None;
    }
    let find = |table: &&'static [Entry]| table.iter().find(|e| e.answers_to(name));
    let entry = tables.iter().find_map(find)?;
    let mut command = Command::new(entry.name);
    for alias in entry.aliases {
        command = command.alias(*alias);
    }
    let command = match entry.action {
        Action::Group(tables) => {
            let verb = words.get(2)?;
            let mut all = tables.iter().copied().flatten();
            let below = all.find(|e| e.answers_to(verb))?;
            command.subcommand(below.command())
        }
        Action::Run(_) => command.defer(entry.augment),
    };
    SCOPE.replace(Scope::Line(mentioned));
    Some(
        Command::new("coracle")
            .bin_name("coracle")
            .disable_help_subcommand(true)
            .subcommand(command),
    )
}

/// From now on, trees are whole again.
pub fn whole() {
    SCOPE.replace(Scope::Whole);
}

/// Applies the rules of podman's and docker's flag grammar to a command.
pub fn prepare(mut command: Command) -> Command {
    let takes_values = FLAGS_TAKE_VALUES.get();
    if let Scope::Line(mentioned) = SCOPE.with_borrow(Scope::clone) {
        let ids: Vec<clap::Id> = command
            .get_arguments()
            .filter(|a| mentioned.needs_grammar(a, takes_values))
            .map(|a| a.get_id().clone())
            .collect();
        for id in ids {
            command = command.mut_arg(id, |arg| grammar(arg, takes_values));
        }
        // Asked for help, it knows no such option, and the whole tree answers.
        return command.args_override_self(true).disable_help_flag(true);
    }
    let mut h_is_taken = false;
    command = command
        .args_override_self(true)
        .mut_args(|arg| grammar(arg, takes_values));
    for arg in command.get_arguments() {
        h_is_taken |= arg.get_short() == Some('h');
    }
    // One form of help, a line an option where it fits; man pages say more.
    let help = Arg::new("help")
        .long("help")
        .help("Print help")
        .action(ArgAction::HelpShort);
    let help = if h_is_taken { help } else { help.short('h') };
    command.disable_help_flag(true).arg(help)
}

fn grammar(arg: Arg, takes_values: bool) -> Arg {
    if arg.is_positional() {
        return arg;
    }
    match arg.get_action() {
        ArgAction::SetTrue if takes_values => optional_bool(arg)
            .action(ArgAction::Set)
            .default_value("false"),
        ArgAction::Set if is_bool(&arg) => optional_bool(arg),
        ArgAction::Set | ArgAction::Append if arg.get_num_args().is_none() => {
            arg.allow_hyphen_values(true)
        }
        _ => arg,
    }
}

pub(super) fn is_bool(arg: &Arg) -> bool {
    arg.get_value_parser().type_id() == ValueParser::bool().type_id()
}

fn optional_bool(arg: Arg) -> Arg {
    arg.num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .value_name("true|false")
        .hide_possible_values(true)
        .value_parser(ValueParser::new(go_bool))
}

/// Reads a boolean as Go's `strconv.ParseBool`.
///
/// # Errors
/// The sentence for the person.
pub fn go_bool(text: &str) -> std::result::Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

/// Runs the command that clap matched.
///
/// # Errors
/// What the command says; `Internal` when clap matched a command that no table has.
pub fn dispatch(
    tables: &[&'static [Entry]],
    mut matches: ArgMatches,
    session: &mut Session,
    out: &mut Out,
) -> Result<u8> {
    let Some((name, mut below)) = matches.remove_subcommand() else {
        return Err(crate::base::Error::invalid("missing command").hint("coracle --help"));
    };
    for table in tables {
        if let Some(entry) = table.iter().find(|e| e.answers_to(&name)) {
            return match &entry.action {
                Action::Run(run) => run(&mut below, session, out),
                Action::Group(tables) => dispatch(tables, below, session, out),
            };
        }
    }
    Err(crate::base::Error::internal(format!(
        "no command named {name:?}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::usage;

    /// Long text of run.
    #[derive(Debug, clap::Args)]
    struct RunArgs {
        /// Keep input open
        #[arg(short, long)]
        interactive: bool,
        /// A terminal
        #[arg(short, long)]
        tty: bool,
        /// Remove it
        #[arg(long)]
        rm: bool,
        /// Proxy
        #[arg(long, default_value_t = true)]
        sig_proxy: bool,
        /// Verify
        #[arg(long)]
        tls_verify: Option<bool>,
        /// Variables
        #[arg(short, long)]
        env: Vec<String>,
        /// Host name
        #[arg(short = 'h', long, visible_alias = "host-name")]
        hostname: Option<String>,
        /// Swap
        #[arg(long)]
        memory_swap: Option<String>,
        /// Image and command
        #[arg(
            required = true,
            trailing_var_arg = true,
            value_name = "IMAGE [COMMAND]"
        )]
        words: Vec<String>,
    }

    fn run(args: RunArgs, _session: &mut Session, _out: &mut Out) -> Result<u8> {
        Ok(args.words.len() as u8)
    }

    const NOUN: &[Entry] = &[crate::command!("run", "Run a command", RunArgs, run)];
    const TOP: &[Entry] = &[
        crate::command!("run", "Run a command", RunArgs, run).aliases(&["start-new"]),
        crate::noun!("container", "Manage containers", NOUN),
    ];

    fn tree() -> Command {
        add(crate::cli::globals::root(), TOP)
    }

    fn parsed(line: &str) -> Result<RunArgs, clap::Error> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let mut matches = usage::parse(tree, &[TOP], &words)?;
        while let Some((_, below)) = matches.remove_subcommand() {
            matches = below;
        }
        Ok(super::parse::<RunArgs>(&mut matches).unwrap())
    }

    #[test]
    fn the_flag_grammar_is_podmans() {
        let a = parsed("c run -it -e=A=1 -eB=2 -e C --env D=4 -h box alpine -x --rm -- y").unwrap();
        assert!(a.interactive && a.tty && !a.rm && a.sig_proxy);
        assert_eq!(a.env, ["A=1", "B=2", "C", "D=4"]);
        assert_eq!(a.hostname.as_deref(), Some("box"));
        assert_eq!(a.words, ["alpine", "-x", "--rm", "--", "y"]);

        let a = parsed("c container run --rm=false --tty=true --sig-proxy=false alpine").unwrap();
        assert!(!a.rm && a.tty && !a.sig_proxy);
        let a = parsed("c run --rm --rm=F -i=1 alpine").unwrap();
        assert!(!a.rm && a.interactive);
        let a = parsed("c run --tls-verify=0 --memory-swap -1 alpine sh -c x=1").unwrap();
        assert_eq!(a.tls_verify, Some(false));
        assert_eq!(a.memory_swap.as_deref(), Some("-1"));
        assert_eq!(a.words, ["alpine", "sh", "-c", "x=1"]);
        assert_eq!(
            parsed("c run --tls-verify x").unwrap().tls_verify,
            Some(true)
        );
        let a = parsed("c run -- --odd-image --rm").unwrap();
        assert_eq!(a.words, ["--odd-image", "--rm"]);
        let a = parsed("c run -itealpine=1 alpine").unwrap();
        assert!(a.interactive && a.tty);
        assert_eq!(a.env, ["alpine=1"]);
        // The last one counts.
        let a = parsed("c start-new --hostname a --hostname=b --log-level debug x").unwrap();
        assert_eq!(a.hostname.as_deref(), Some("b"));
    }

    #[test]
    fn bad_lines_are_explained() {
        for (line, what) in [
            ("c run --bogus alpine", "unknown flag: --bogus"),
            ("c run --bogus=1 alpine", "unknown flag: --bogus"),
            ("c run -q alpine", "unknown flag: -q"),
            ("c runn", "unrecognized command `coracle runn`"),
            (
                "c container bogus",
                "unrecognized command `coracle container bogus`",
            ),
            ("c container", "missing command `coracle container COMMAND`"),
            ("c", "missing command `coracle COMMAND`"),
        ] {
            let error = usage::explain(&parsed(line).unwrap_err());
            assert_eq!(error.what(), what, "{line}");
        }
        let error = usage::explain(&parsed("c run --rm=maybe alpine").unwrap_err());
        assert!(error.what().contains("maybe"), "{error}");
        let error = usage::explain(&parsed("c runn").unwrap_err());
        assert_eq!(
            error.hints(),
            ["did you mean `run`?", "see `coracle --help`"]
        );
        let error = usage::explain(&parsed("c container run").unwrap_err());
        assert!(
            error
                .hints()
                .contains(&"see `coracle container run --help`"),
            "{error}"
        );
    }

    #[test]
    fn help_shows_plain_flags_and_hides_global_options_below_the_root() {
        let error = parsed("c run --help").unwrap_err();
        let text = error.render().to_string();
        assert!(text.contains("--rm "), "{text}");
        assert!(!text.contains("--root"), "{text}");
        assert!(text.starts_with("Run a command"), "{text}");
    }
}
