//! Instructions and stages as typed values, variables still in them.

use super::lexer::Heredoc;

/// A list of words.
pub type Words = Vec<String>;

/// One `FROM` and what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// What it starts from, as written.
    pub base: String,
    /// `AS name`, lower case.
    pub name: Option<String>,
    /// `AS name` as written.
    pub name_as_written: Option<String>,
    /// `--platform`, as written.
    pub platform: Option<String>,
    /// A comment above it, for `--call=targets`.
    pub comment: String,
    /// The line of `FROM`.
    pub line: u32,
    /// The instructions after it.
    pub steps: Vec<Step>,
}

/// One instruction with its place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it says.
    pub instruction: Instruction,
    /// As written, continuation lines joined.
    pub text: String,
    /// The first line.
    pub line: u32,
    /// The last line.
    pub last: u32,
}

/// How a command is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `["a", "b"]`.
    Exec(Words),
    /// A line for the shell.
    Shell(String),
}

/// Where files come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// The build's own context.
    Context,
    /// `from=`: a stage's name or number, a named context, an image.
    Named(String),
}

/// `RUN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// What to run; the empty shell form with here-documents runs them.
    pub command: Command,
    /// Here-documents.
    pub heredocs: Vec<Heredoc>,
    /// `--mount`, as written.
    pub mounts: Words,
    /// `--network`.
    pub network: RunNetwork,
    /// `--security=insecure`.
    pub insecure: bool,
    /// `--device`, as written.
    pub devices: Words,
}

/// `RUN --network`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunNetwork {
    /// The build's.
    #[default]
    Default,
    /// Loopback only.
    None,
    /// The host's.
    Host,
}

/// `COPY` and `ADD`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copy {
    /// Whether it is `ADD`: archives are unpacked, addresses fetched.
    pub add: bool,
    /// The sources as written, here-documents excepted.
    pub sources: Words,
    /// Here-documents that are files.
    pub heredocs: Vec<Heredoc>,
    /// The destination as written.
    pub destination: String,
    /// `--from`.
    pub from: Option<String>,
    /// `--chown`, as written.
    pub chown: Option<String>,
    /// `--chmod`, as written.
    pub chmod: Option<String>,
    /// `--link`.
    pub link: bool,
    /// `--parents`.
    pub parents: bool,
    /// `--exclude`, as written.
    pub exclude: Words,
    /// `--checksum` of ADD.
    pub checksum: Option<String>,
    /// `--keep-git-dir` of ADD.
    pub keep_git_dir: bool,
    /// `--unpack` of ADD; absent: archives of the context are, fetched ones are not.
    pub unpack: Option<bool>,
}

/// `HEALTHCHECK`; times in nanoseconds, 0 means the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// `NONE`, or the command; absent with flags of an unknown form.
    pub command: Option<Command>,
    /// `--interval`.
    pub interval: i64,
    /// `--timeout`.
    pub timeout: i64,
    /// `--start-period`.
    pub start_period: i64,
    /// `--start-interval`.
    pub start_interval: i64,
    /// `--retries`.
    pub retries: i64,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// `RUN`.
    Run(Box<Run>),
    /// `COPY`, `ADD`.
    Copy(Box<Copy>),
    /// `ENV`: words as written.
    Env(Vec<(String, String)>),
    /// `LABEL`.
    Label(Vec<(String, String)>),
    /// `ARG`.
    Arg(Vec<(String, Option<String>)>),
    /// `CMD`.
    Cmd(Command),
    /// `ENTRYPOINT`.
    Entrypoint(Command),
    /// `EXPOSE`, as written.
    Expose(Words),
    /// `VOLUME`.
    Volume(Words),
    /// `USER`.
    User(String),
    /// `WORKDIR`.
    Workdir(String),
    /// `STOPSIGNAL`.
    StopSignal(String),
    /// `HEALTHCHECK`.
    Healthcheck(Health),
    /// `SHELL`.
    Shell(Words),
    /// `ONBUILD`: the instruction's text, to be parsed in the image's children.
    OnBuild(String),
    /// `MAINTAINER`.
    Maintainer(String),
}

impl Instruction {
    /// The instruction's word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Run(_) => "RUN",
            Self::Copy(copy) if copy.add => "ADD",
            Self::Copy(_) => "COPY",
            Self::Env(_) => "ENV",
            Self::Label(_) => "LABEL",
            Self::Arg(_) => "ARG",
            Self::Cmd(_) => "CMD",
            Self::Entrypoint(_) => "ENTRYPOINT",
            Self::Expose(_) => "EXPOSE",
            Self::Volume(_) => "VOLUME",
            Self::User(_) => "USER",
            Self::Workdir(_) => "WORKDIR",
            Self::StopSignal(_) => "STOPSIGNAL",
            Self::Healthcheck(_) => "HEALTHCHECK",
            Self::Shell(_) => "SHELL",
            Self::OnBuild(_) => "ONBUILD",
            Self::Maintainer(_) => "MAINTAINER",
        }
    }

    /// Every place that it takes files from but the context, as written.
    pub fn froms(&self) -> Words {
        match self {
            Self::Run(run) => super::mount::froms(&run.mounts),
            Self::Copy(copy) => copy.from.iter().cloned().collect(),
            _ => Vec::new(),
        }
    }
}
