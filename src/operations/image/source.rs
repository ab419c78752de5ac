//! Archives from elsewhere: files, standard input, addresses.

use std::io::Read;
use std::sync::Arc;

use crate::base::Result;
use crate::operations::session::Session;
use crate::registry::client::{Settings, download};

/// Opens an `http://` or `https://` address for reading.
///
/// # Errors
/// What the server says.
pub fn open_url(session: &Session, url: &str) -> Result<Box<dyn Read + Send>> {
    download(
        url,
        Settings::new(&session.env, Arc::clone(&session.progress)),
    )
}
