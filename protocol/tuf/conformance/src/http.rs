//! Files over plain HTTP.

use std::io::Read;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ureq::{Agent, Body};
use waxwing_tuf::{Fetch, FetchError};

use crate::Outcome;

/// Everything but what RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Encodes a name so that it is one segment of a URL, and one file of a folder.
pub(crate) fn encode(name: &str) -> String {
    utf8_percent_encode(name, RESERVED).to_string()
}

/// A metadata repository on a web server.
#[derive(Debug)]
pub(crate) struct Http {
    agent: Agent,
    url: String,
}

impl Http {
    pub(crate) fn new(url: &str) -> Self {
        let config = Agent::config_builder().http_status_as_error(false).build();
        Self { agent: config.into(), url: url.trim_end_matches('/').to_owned() }
    }

    /// Opens a target. How much of it is read is up to the caller.
    pub(crate) fn target(&self, base_url: &str, path: &str) -> Outcome<impl Read + use<>> {
        let path: Vec<_> = path.split('/').map(encode).collect();
        let url = format!("{}/{}", base_url.trim_end_matches('/'), path.join("/"));
        let body = self.get(&url)?.ok_or_else(|| format!("{url} does not exist"))?;
        Ok(body.into_reader())
    }

    fn get(&self, url: &str) -> Outcome<Option<Body>> {
        let response = self.agent.get(url).call()?;
        match response.status().as_u16() {
            200 => Ok(Some(response.into_body())),
            403 | 404 => Ok(None),
            status => Err(format!("{url} answered {status}").into()),
        }
    }
}

impl Fetch for Http {
    fn metadata(
        &mut self,
        file_name: &str,
        bytes_max: usize,
    ) -> Result<Option<Vec<u8>>, FetchError> {
        let failed = |error: &dyn std::fmt::Display| {
            eprintln!("tuf-client: {file_name}: {error}");
            FetchError::Failed
        };
        let body = self.get(&format!("{}/{}", self.url, encode(file_name)));
        let Some(body) = body.map_err(|error| failed(&error))? else { return Ok(None) };
        let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
        let mut bytes = Vec::new();
        body.into_reader().take(limit).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
        if bytes.len() > bytes_max { Err(FetchError::TooLong) } else { Ok(Some(bytes)) }
    }
}
