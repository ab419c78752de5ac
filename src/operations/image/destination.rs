//! A repository of a registry that is written to: blobs, small documents, manifests.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::policy::RegistryOptions;
use super::remote::Remote;
use crate::base::{Context as _, Error, Kind, Result};
use crate::image::{Names, StoredManifest};
use crate::operations::session::Session;
use crate::registry::client::Client;
use crate::registry::registries_conf::Endpoint;
use crate::registry::trust;
use crate::registry::trust::key::PrivateKey;
use crate::registry::trust::lookaside::Lookaside;
use crate::registry::upload::{Placed, Upload};
use crate::spec::digest::Digest;
use crate::spec::reference::Reference;
use crate::storage::Store;

/// Where an image goes.
pub(in crate::operations) struct Destination<'a> {
    session: &'a Session,
    target: &'a Reference,
    store: Store,
    client: Client,
    endpoint: Endpoint,
    names: Names,
}

impl<'a> Destination<'a> {
    /// Reads the configuration for the registry of `target`; nothing is sent yet.
    ///
    /// # Errors
    /// `Invalid` for malformed files; `NotFound` when registries.conf leaves no place to write to.
    pub fn open(
        session: &'a Session,
        target: &'a Reference,
        options: &RegistryOptions,
    ) -> Result<Self> {
        let remote = Remote::open(session, options)?;
        // Mirrors are for reading.
        let endpoint = remote
            .registries
            .endpoints(target)?
            .into_iter()
            .find(|e| !e.mirror)
            .ok_or_else(|| Error::not_found("no registry to push to"))?;
        Ok(Self {
            session,
            target,
            store: super::store(session)?,
            client: remote.client(&endpoint)?,
            endpoint,
            names: super::images(session).names()?,
        })
    }

    /// Places blobs of the store, several at once, each only once.
    ///
    /// # Errors
    /// What the registry says; `NotFound` for a blob that is gone from the store.
    pub fn blobs(&self, blobs: &[(Digest, u64)]) -> Result<()> {
        let mut once: Vec<&(Digest, u64)> = Vec::new();
        for blob in blobs {
            if !once.iter().any(|b| b.0 == blob.0) {
                once.push(blob);
            }
        }
        let next = AtomicUsize::new(0);
        let stop = AtomicBool::new(false);
        let whole = AtomicBool::new(false);
        let failure: Mutex<Option<Error>> = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..super::transfer::lanes(self.session).min(once.len()) {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some((digest, size)) = once.get(at) else {
                            break;
                        };
                        if let Err(e) = self.blob(digest, *size, &whole) {
                            stop.store(true, Ordering::Relaxed);
                            if let Ok(mut failure) = failure.lock() {
                                failure.get_or_insert(e);
                            }
                        }
                    }
                });
            }
        });
        match failure.into_inner() {
            Ok(None) => Ok(()),
            Ok(Some(e)) => Err(e),
            Err(_) => Err(Error::internal("an upload ended badly")),
        }
    }

    /// Signs a manifest that is there as sigstore does: the signature lies beside it.
    ///
    /// # Errors
    /// What the registry says.
    pub fn sign(&self, key: &PrivateKey, digest: &Digest) -> Result<()> {
        self.session
            .progress
            .message("Creating signature: Signing image using a sigstore signature");
        let place = (&self.client, self.endpoint.repository.as_str());
        trust::sigstore::sign(key, place, self.target, digest)
            .what(|| "the image is pushed, but not signed")
    }

    /// Signs a manifest that is there with a GPG key: the signature goes where registries.d says.
    ///
    /// # Errors
    /// What gpg says, and the kernel.
    pub fn sign_simple(&self, key: &str, passphrase: Option<&Path>, digest: &Digest) -> Result<()> {
        self.session
            .progress
            .message("Creating signature: Signing image using simple signing");
        let lookaside = Lookaside::load(&self.session.env)?;
        trust::simple::sign(key, passphrase, self.target, digest)
            .and_then(|message| lookaside.write(self.target, digest, &message))
            .map(drop)
            .what(|| "the image is pushed, but not signed")
    }

    fn blob(&self, digest: &Digest, size: u64, whole: &AtomicBool) -> Result<()> {
        let file = self.store.blobs().open(digest).map_err(|e| {
            if e.kind() == Kind::NotFound {
                e.hint("the blob is gone from the store: pull the image again")
            } else {
                e
            }
        })?;
        let mount_from = self.sister(digest)?;
        let label = format!("Copying blob {}", digest.short());
        self.place(&file, digest, size, mount_from.as_deref(), &label, whole)
    }

    /// Places a small document that is in memory.
    ///
    /// # Errors
    /// What the registry says.
    pub fn bytes(&self, digest: &Digest, bytes: &[u8], label: &str) -> Result<()> {
        let what = || "cannot hold the configuration";
        let memory = rustix::fs::memfd_create("config", rustix::fs::MemfdFlags::CLOEXEC)
            .map_err(io::Error::from)
            .what(what)?;
        let mut file = File::from(memory);
        file.write_all(bytes).what(what)?;
        let size = bytes.len() as u64;
        self.place(&file, digest, size, None, label, &AtomicBool::new(false))
    }

    fn place(
        &self,
        file: &File,
        digest: &Digest,
        size: u64,
        mount_from: Option<&str>,
        label: &str,
        whole: &AtomicBool,
    ) -> Result<()> {
        let key = digest.to_string();
        let progress = &self.session.progress;
        let sent = |done: u64| progress.update(&key, label, done, size);
        let placed = self.client.place_blob(
            &self.endpoint.repository,
            &Upload {
                digest,
                file,
                size,
                mount_from,
                sent: &sent,
                whole,
            },
        )?;
        let outcome = match placed {
            Placed::Existed => "already exists",
            Placed::Mounted => "mounted",
            Placed::Uploaded => "done",
        };
        progress.finish(&key, label, outcome);
        Ok(())
    }

    /// Writes a manifest by its digest: a member of an index that follows.
    ///
    /// # Errors
    /// What the registry says.
    pub fn member(&self, manifest: &StoredManifest) -> Result<Digest> {
        self.put(&manifest.digest.to_string(), manifest)
    }

    /// Writes the manifest or index that the target's name stands for from now on.
    ///
    /// # Errors
    /// `Invalid` when the target is named by another digest; what the registry says.
    pub fn top(&self, manifest: &StoredManifest) -> Result<Digest> {
        let reference = match (self.target.tag(), self.target.digest()) {
            (Some(tag), _) => tag.to_owned(),
            (None, _) => manifest.digest.to_string(),
        };
        if let (None, Some(digest)) = (self.target.tag(), self.target.digest())
            && *digest != manifest.digest
        {
            return Err(Error::invalid(format!(
                "the image's manifest has digest {}, so it cannot be pushed as {digest}",
                manifest.digest
            )));
        }
        self.session
            .progress
            .message("Writing manifest to image destination");
        self.put(&reference, manifest)
    }

    fn put(&self, reference: &str, manifest: &StoredManifest) -> Result<Digest> {
        self.client.put_manifest(
            &self.endpoint.repository,
            reference,
            &manifest.media_type,
            manifest.raw.as_bytes(),
        )
    }

    /// Another repository of the same registry that has the blob, as far as names here tell.
    fn sister(&self, blob: &Digest) -> Result<Option<String>> {
        let images = super::images(self.session);
        for (name, entry) in &self.names.0 {
            let other = name.registry() != self.target.registry();
            if other || name.repository() == self.endpoint.repository {
                continue;
            }
            // Only what came from there, or went there, has a digest name.
            if name.digest().is_none() {
                continue;
            }
            if let Ok(record) = images.get(&entry.id)
                && record.layers.iter().any(|l| l.digest == *blob)
            {
                return Ok(Some(name.repository().to_owned()));
            }
        }
        Ok(None)
    }
}
