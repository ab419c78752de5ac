//! `kube apply`.

use std::path::PathBuf;
use std::time::Duration;

use super::play::read_all;
use crate::base::time::parse_duration;
use crate::base::{Error, Result};
use crate::cli::output::Out;
use crate::operations::kube::apply::{Cluster, Request, Told, Which};
use crate::operations::kube::generate::{self, Wrap};
use crate::operations::session::Session;

/// Which cluster, and how long to wait for it.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Cluster")]
pub struct ClusterFlags {
    /// File that says how the cluster is reached
    #[arg(short, long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; the current one without
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Authority of the server's certificate, in place of the kubeconfig's
    #[arg(long, value_name = "FILE")]
    pub ca_cert_file: Option<PathBuf>,
    /// Take any certificate of the server
    #[arg(long)]
    pub insecure_skip_tls_verify: bool,
    /// Namespace of what names none
    #[arg(long, alias = "ns", value_name = "NAME")]
    pub namespace: Option<String>,
    /// Wait until everything is ready (default true)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub wait: Option<bool>,
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    pub timeout: Duration,
}

impl ClusterFlags {
    /// How long the rollout is waited for; `None` for not at all.
    pub fn patience(&self) -> Option<Duration> {
        self.wait.unwrap_or(true).then_some(self.timeout)
    }

    /// Hands objects over and tells of it.
    ///
    /// # Errors
    /// As `operations::kube::apply`.
    pub fn apply(self, request: Request, session: &Session, out: &mut Out) -> Result<()> {
        let wait = self.patience();
        let which = Which {
            kubeconfig: self.kubeconfig,
            context: self.context,
            authorities: self.ca_cert_file,
            insecure: self.insecure_skip_tls_verify,
        };
        let request = Request {
            namespace: self.namespace,
            wait,
            ..request
        };
        Cluster::open(session, &which)?.apply(&request, &mut |told| show(told, out))
    }
}

/// What was done goes to standard output at once, how far it is beside it.
///
/// # Errors
/// When standard output is gone.
pub fn show(told: Told, out: &mut Out) -> Result<()> {
    match told {
        Told::Done(line) => {
            out.line(line)?;
            out.flush()
        }
        Told::Progress(line) => {
            out.note(&line);
            Ok(())
        }
    }
}

/// Hand manifests to a cluster
///
/// Manifests of a file, or of pods, containers and volumes of this machine, by server-side apply; then
/// the rollout is waited for and shown.
#[derive(Debug, clap::Args)]
pub struct ApplyArgs {
    #[command(flatten)]
    cluster: ClusterFlags,
    /// Let the server check everything and keep nothing: server, none
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "server", value_name = "HOW", value_parser = ["server", "none"])]
    dry_run: Option<String>,
    /// File, address, or - for standard input
    #[arg(short, long, value_name = "FILE")]
    file: Vec<String>,
    /// With --prune: claims and their data, too
    #[arg(long, requires = "prune")]
    force: bool,
    /// Remove what was applied with these labels and is in the manifests no more
    #[arg(long, requires = "selector")]
    prune: bool,
    /// Labels of everything that belongs together, as KEY=VALUE
    #[arg(short = 'l', long, value_name = "LABELS", requires = "prune")]
    selector: Option<String>,
    /// Write a Service for pods and containers of this machine, too
    #[arg(short, long)]
    service: bool,
    /// Pods, containers or volumes of this machine
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

/// Runs `kube apply`.
///
/// # Errors
/// What the manifests or the cluster say.
pub fn run(args: ApplyArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let objects = match (args.file.is_empty(), args.names.is_empty()) {
        (false, true) if !args.service => read_all(session, &args.file)?,
        (true, false) => {
            let request = generate::Request {
                names: args.names,
                wrap: Wrap::Pod,
                replicas: None,
                service: args.service,
            };
            let (objects, notices) = generate::generate(session, &request)?;
            for notice in &notices {
                out.warn(notice);
            }
            objects
        }
        _ => {
            return Err(
                Error::invalid("either --file, or names of pods, containers or volumes")
                    .hint("coracle kube apply -f FILE"),
            );
        }
    };
    let request = Request {
        objects,
        prune: args.selector.filter(|_| args.prune),
        claims: args.force,
        dry_run: args.dry_run.as_deref() == Some("server"),
        ..Request::default()
    };
    args.cluster.apply(request, session, out)?;
    Ok(0)
}
