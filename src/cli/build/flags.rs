//! The options of `build`.

use std::path::PathBuf;

use crate::cli::image::args::{RegistryArgs, RetryArgs};

/// Make an image from a Dockerfile
///
/// The context is a folder, - for a tar (or a Dockerfile) on standard input, an address of a tar or
/// Dockerfile, or a git repository (ADDRESS#REF:FOLDER). Without --file the context's Containerfile
/// is read, else its Dockerfile. Independent stages are built side by side, stages that the target
/// does not need not at all, and a step that ran before on the same input is taken from the cache.
/// Progress is on standard error; the image's id is on standard output.
#[derive(Debug, clap::Args)]
pub struct BuildArgs {
    /// The Dockerfile: a path, an address, or - for standard input
    #[arg(short, long, value_name = "FILE", help_heading = "Build")]
    pub file: Option<String>,
    /// Name of the image
    #[arg(short, long, value_name = "NAME[:TAG]", help_heading = "Build")]
    pub tag: Vec<String>,
    /// Stop at this stage
    #[arg(long, value_name = "STAGE", help_heading = "Build")]
    pub target: Option<String>,
    /// Value of an ARG; without a value the caller's variable
    #[arg(long, value_name = "NAME[=VALUE]", help_heading = "Build")]
    pub build_arg: Vec<String>,
    /// File with values of ARGs, a line each
    #[arg(long, value_name = "FILE", help_heading = "Build")]
    pub build_arg_file: Vec<PathBuf>,
    /// More files: a folder, docker-image://NAME, oci-layout://PATH, an address or a repository
    #[arg(long, value_name = "NAME=SOURCE", help_heading = "Build")]
    pub build_context: Vec<String>,
    /// Start the first FROM from this image instead
    #[arg(long, value_name = "IMAGE", help_heading = "Build")]
    pub from: Option<String>,
    /// Read patterns of files to leave out from here
    #[arg(long, value_name = "FILE", help_heading = "Build")]
    pub ignorefile: Option<PathBuf>,
    /// Platform of the image and of what it runs; several make an index
    #[arg(long, value_name = "OS/ARCH[/VARIANT],...", help_heading = "Build")]
    pub platform: Vec<String>,
    /// Build for every platform that the base images exist for
    #[arg(long, help_heading = "Build")]
    pub all_platforms: bool,
    /// CPU architecture of the image
    #[arg(long, value_name = "ARCH", help_heading = "Build")]
    pub arch: Option<String>,
    /// Operating system of the image
    #[arg(long, value_name = "OS", help_heading = "Build")]
    pub os: Option<String>,
    /// CPU variant of the image
    #[arg(long, value_name = "VARIANT", help_heading = "Build")]
    pub variant: Option<String>,
    /// When a registry is asked for base images: always, missing, never or newer
    #[arg(long, value_name = "POLICY", num_args = 0..=1, require_equals = true, default_missing_value = "always", help_heading = "Build")]
    pub pull: Option<String>,
    /// So many steps at the same time; one for each CPU by default
    #[arg(short, long, value_name = "N", help_heading = "Build")]
    pub jobs: Option<usize>,
    /// Build only stages that the target needs (on by default)
    #[arg(long, help_heading = "Build")]
    pub skip_unused_stages: Option<bool>,
    /// Look for mistakes instead of building
    #[arg(long, help_heading = "Build")]
    pub check: bool,
    /// check, outline or targets instead of building
    #[arg(long, value_name = "WHAT", help_heading = "Build")]
    pub call: Option<String>,
    /// Allow network.host, security.insecure or device=NAME to the Dockerfile
    #[arg(long, value_name = "RIGHT", help_heading = "Build")]
    pub allow: Vec<String>,
    /// Tell which input of each step changed since it ran last
    #[arg(long, help_heading = "Build")]
    pub why: bool,
    /// shell: open one where a RUN failed
    #[arg(long, value_name = "WHAT", help_heading = "Build")]
    pub on_error: Option<String>,

    /// Do not use what ran before
    #[arg(long, help_heading = "Cache")]
    pub no_cache: bool,
    /// Do not use what ran before in these stages
    #[arg(
        long,
        value_name = "STAGE",
        value_delimiter = ',',
        help_heading = "Cache"
    )]
    pub no_cache_filter: Vec<String>,
    /// Keep what ran for later builds (on by default)
    #[arg(long, help_heading = "Cache")]
    pub layers: Option<bool>,
    /// Do not use what is older, e.g. 24h
    #[arg(long, value_name = "TIME", help_heading = "Cache")]
    pub cache_ttl: Option<String>,

    /// Also look there: NAME, type=registry,ref=NAME or type=local,src=DIR
    #[arg(long, value_name = "SOURCE", help_heading = "Cache")]
    pub cache_from: Vec<String>,
    /// Keep the steps there too: NAME, type=registry|local|inline,...,mode=min|max
    #[arg(long, value_name = "TARGET", help_heading = "Cache")]
    pub cache_to: Vec<String>,

    /// Secret for RUN --mount=type=secret: id=ID,src=FILE or id=ID,env=NAME
    #[arg(long, value_name = "SECRET", help_heading = "Steps")]
    pub secret: Vec<String>,
    /// SSH agent for RUN --mount=type=ssh: default, ID=SOCKET or ID=KEY
    #[arg(long, value_name = "ID[=SOCKET|KEY]", help_heading = "Steps")]
    pub ssh: Vec<String>,
    /// Network of RUN: none, host, pasta, slirp4netns
    #[arg(long, alias = "net", value_name = "MODE", help_heading = "Steps")]
    pub network: Option<String>,
    /// Line for /etc/hosts of RUN
    #[arg(long, value_name = "NAME:ADDRESS", help_heading = "Steps")]
    pub add_host: Vec<String>,
    /// Name server of RUN
    #[arg(long, value_name = "ADDRESS", help_heading = "Steps")]
    pub dns: Vec<String>,
    /// Option of resolv.conf of RUN
    #[arg(long, value_name = "OPTION", help_heading = "Steps")]
    pub dns_option: Vec<String>,
    /// Search domain of RUN
    #[arg(long, value_name = "DOMAIN", help_heading = "Steps")]
    pub dns_search: Vec<String>,
    /// Leave /etc/hosts of RUN alone
    #[arg(long, help_heading = "Steps")]
    pub no_hosts: bool,
    /// Hand the caller's proxy variables to RUN (on by default)
    #[arg(long, help_heading = "Steps")]
    pub http_proxy: Option<bool>,
    /// Show a folder of the host in RUN
    #[arg(
        short,
        long,
        value_name = "HOST:INSIDE[:OPTIONS]",
        help_heading = "Steps"
    )]
    pub volume: Vec<String>,
    /// Device for RUN
    #[arg(long, value_name = "DEVICE", help_heading = "Steps")]
    pub device: Vec<String>,
    /// Capability for RUN
    #[arg(long, value_name = "CAPABILITY", help_heading = "Steps")]
    pub cap_add: Vec<String>,
    /// No such capability for RUN
    #[arg(long, value_name = "CAPABILITY", help_heading = "Steps")]
    pub cap_drop: Vec<String>,
    /// More groups for RUN
    #[arg(long, value_name = "GROUP", help_heading = "Steps")]
    pub group_add: Vec<String>,
    /// Security of RUN, as for run
    #[arg(long, value_name = "OPTION", help_heading = "Steps")]
    pub security_opt: Vec<String>,
    /// Size of /dev/shm of RUN
    #[arg(long, value_name = "SIZE", help_heading = "Steps")]
    pub shm_size: Option<String>,
    /// Resource limit of RUN, as for run
    #[arg(long, value_name = "NAME=SOFT[:HARD]", help_heading = "Steps")]
    pub ulimit: Vec<String>,
    /// Memory of RUN
    #[arg(short, long, value_name = "SIZE", help_heading = "Steps")]
    pub memory: Option<String>,
    /// Memory and swap of RUN
    #[arg(long, value_name = "SIZE", help_heading = "Steps")]
    pub memory_swap: Option<String>,
    /// Period of the CPU limit of RUN, microseconds
    #[arg(long, value_name = "N", help_heading = "Steps")]
    pub cpu_period: Option<String>,
    /// Time in each period for RUN, microseconds
    #[arg(long, value_name = "N", help_heading = "Steps")]
    pub cpu_quota: Option<String>,
    /// Weight of RUN among others
    #[arg(short, long, value_name = "N", help_heading = "Steps")]
    pub cpu_shares: Option<String>,
    /// CPUs of RUN
    #[arg(long, value_name = "LIST", help_heading = "Steps")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes of RUN
    #[arg(long, value_name = "LIST", help_heading = "Steps")]
    pub cpuset_mems: Option<String>,
    /// Parent of the control groups of RUN
    #[arg(long, value_name = "PATH", help_heading = "Steps")]
    pub cgroup_parent: Option<String>,
    /// Control group namespace of RUN
    #[arg(long, value_name = "MODE", help_heading = "Steps")]
    pub cgroupns: Option<String>,
    /// IPC namespace of RUN
    #[arg(long, value_name = "MODE", help_heading = "Steps")]
    pub ipc: Option<String>,
    /// Process namespace of RUN
    #[arg(long, value_name = "MODE", help_heading = "Steps")]
    pub pid: Option<String>,
    /// Host name namespace of RUN
    #[arg(long, value_name = "MODE", help_heading = "Steps")]
    pub uts: Option<String>,
    /// User namespace of RUN: host or nested
    #[arg(long, value_name = "MODE", help_heading = "Steps")]
    pub userns: Option<String>,

    /// Form of the image: oci or docker
    #[arg(long, value_name = "FORM", help_heading = "Image")]
    pub format: Option<String>,
    /// Label of the image
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Image")]
    pub label: Vec<String>,
    /// Annotation of the image's manifest; index:KEY=VALUE of the index
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Image")]
    pub annotation: Vec<String>,
    /// Variable of the image
    #[arg(long, value_name = "NAME[=VALUE]", help_heading = "Image")]
    pub env: Vec<String>,
    /// Take a variable out of the image
    #[arg(long, value_name = "NAME", help_heading = "Image")]
    pub unsetenv: Vec<String>,
    /// Take a label out of the image
    #[arg(long, value_name = "KEY", help_heading = "Image")]
    pub unsetlabel: Vec<String>,
    /// Keep the base image's labels (on by default)
    #[arg(long, help_heading = "Image")]
    pub inherit_labels: Option<bool>,
    /// No history in the image
    #[arg(long, help_heading = "Image")]
    pub omit_history: bool,
    /// All new layers in one
    #[arg(long, help_heading = "Image")]
    pub squash: bool,
    /// Everything in one layer, the base image's files too
    #[arg(long, help_heading = "Image")]
    pub squash_all: bool,
    /// Time of the image, seconds since 1970; else SOURCE_DATE_EPOCH
    #[arg(long, value_name = "SECONDS", help_heading = "Image")]
    pub source_date_epoch: Option<String>,
    /// No file in a new layer is later than that time
    #[arg(long, help_heading = "Image")]
    pub rewrite_timestamp: bool,
    /// Time of the image and of every file in new layers, seconds since 1970
    #[arg(long, value_name = "SECONDS", help_heading = "Image")]
    pub timestamp: Option<i64>,

    /// Add the image to an index of this name, which is made if it is missing
    #[arg(long, value_name = "NAME", help_heading = "Image")]
    pub manifest: Option<String>,
    /// State which packages the image holds (SPDX); beside it in an index
    #[arg(long, value_name = "BOOL|OPTIONS", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Image")]
    pub sbom: Option<String>,
    /// State how the image was built (SLSA): true, mode=min or mode=max
    #[arg(long, value_name = "BOOL|OPTIONS", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Image")]
    pub provenance: Option<String>,
    /// Both in one: type=sbom or type=provenance,mode=max
    #[arg(long, value_name = "OPTIONS", help_heading = "Image")]
    pub attest: Vec<String>,

    /// Also write the result: type=local|tar|oci|docker|image|registry,dest=PATH; or a folder
    #[arg(short, long, value_name = "OUTPUT", help_heading = "Result")]
    pub output: Vec<String>,
    /// Push the image to its registry
    #[arg(long, help_heading = "Result")]
    pub push: bool,
    /// Keep the image here, as always
    #[arg(long, help_heading = "Result")]
    pub load: bool,
    /// Write the image's id into a file
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub iidfile: Option<PathBuf>,
    /// Write digests and names into a JSON file
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub metadata_file: Option<PathBuf>,
    /// Print the image's id only
    #[arg(short, long, help_heading = "Result")]
    pub quiet: bool,
    /// auto, plain, tty, json or quiet
    #[arg(long, value_name = "FORM", help_heading = "Result")]
    pub progress: Option<String>,
    /// Write progress into a file
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub logfile: Option<PathBuf>,
    /// How to talk to registries
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// How often to try
    #[command(flatten)]
    pub retry: RetryArgs,

    /// Accepted for buildx's sake: there is one builder
    #[arg(long, value_name = "NAME", hide = true)]
    pub builder: Option<String>,
    /// Accepted: nothing intermediate is left
    #[arg(long, hide = true)]
    pub rm: Option<bool>,
    /// Accepted: nothing intermediate is left
    #[arg(long, hide = true)]
    pub force_rm: Option<bool>,
    /// Accepted: the context goes nowhere
    #[arg(long, hide = true)]
    pub compress: bool,
    /// Accepted for docker's sake; signatures of that kind do not exist any more
    #[arg(long, hide = true)]
    pub disable_content_trust: Option<bool>,
    /// Every RUN is a rootless container
    #[arg(long, value_name = "KIND", hide = true)]
    pub isolation: Option<String>,

    /// Folder, address, repository, or - for standard input
    #[arg(value_name = "CONTEXT")]
    pub context: Option<String>,
}
