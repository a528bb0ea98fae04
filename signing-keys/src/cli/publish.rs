//! `publish`.

use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use waxwing_tuf::author::Signer;
use waxwing_wire::ProductId;
use zeroize::Zeroizing;

use super::arguments::{KeyName, Unlock};
use super::{Environment, Failure};
use crate::ceremony::product_of;
use crate::disk;
use crate::folder::Folder;
use crate::publish::{Error, Publication, Publishers};
use crate::secret::Secret;
use crate::transcript::Scene;
use crate::upload::Server;

/// Sign snapshot and timestamp, check everything as a device would, and hand it to a server
///
/// Without --server the result lies in the repository folder, ready for any web server.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: waxwing-keys publish --dir acme-th1 --snapshot-key s.key --timestamp-key t.key \\
      --server https://ota.example:8445 --server-ca server-ca.pem --token-file token
Publishing again is safe: what has not changed is not signed anew, only uploaded.")]
pub(super) struct Args {
    /// The folder of the repository
    #[arg(long, default_value = ".", value_name = "REPOSITORY")]
    dir: PathBuf,
    /// The secret key for the snapshot: a file or `pkcs11:token=TOKEN;object=LABEL`
    #[arg(long, value_name = "KEY", requires = "timestamp_key")]
    snapshot_key: Option<KeyName>,
    /// The secret key for the timestamp; may be the same
    #[arg(long, value_name = "KEY", requires = "snapshot_key")]
    timestamp_key: Option<KeyName>,
    /// Sign snapshot and timestamp anew although nothing has changed: they expire after 30 days
    #[arg(long, requires = "snapshot_key")]
    refresh: bool,
    /// Address of the server's admin interface
    #[arg(long, value_name = "URL", requires_all = ["server_ca", "token_file"])]
    server: Option<String>,
    /// Certificate of the server's CA, PEM
    #[arg(long, value_name = "PEM")]
    server_ca: Option<PathBuf>,
    /// File with the admin token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Write the metadata bundle to a file, to be carried to the server
    #[arg(short, long = "output", value_name = "FILE", conflicts_with = "server")]
    out: Option<PathBuf>,
    #[command(flatten)]
    unlock: Unlock,
}

/// The two keys, one of them perhaps in both roles.
struct Keys {
    snapshot: Box<dyn Signer>,
    timestamp: Option<Box<dyn Signer>>,
}

impl Args {
    /// What it may change.
    pub(super) fn scene(&self) -> Result<Scene, disk::Error> {
        Scene::of_repository(&Folder::of(&self.dir))?.and(self.out.as_ref())
    }

    pub(super) fn run(self, with: &mut Environment<'_>) -> Result<(), Failure> {
        let folder = Folder::of(&self.dir);
        let server = self.server()?;
        let keys = self.keys(with)?;
        let publishers = keys.as_ref().map(|keys| Publishers {
            snapshot: keys.snapshot.as_ref(),
            timestamp: keys.timestamp.as_ref().unwrap_or(&keys.snapshot).as_ref(),
        });
        let publication = Publication::prepare(&folder, publishers, self.refresh, with.now)?;
        publication.stage(&folder, with.now)?;
        let names: Vec<_> = publication.names().collect();
        with.console.say(format!("verified: {}", names.join(", ")))?;
        if let Some(out) = &self.out {
            disk::replace(out, &publication.bundle()?, |_| Ok::<_, disk::Error>(()))?;
        }
        if let Some(server) = &server {
            upload(server, &publication)?;
            with.console.say("the server has taken images and metadata")?;
        }
        // Not before the server has taken it: what it refuses can still be changed.
        Ok(publication.commit(&folder)?)
    }

    fn keys(&self, with: &mut Environment<'_>) -> Result<Option<Keys>, Failure> {
        let (Some(snapshot), Some(timestamp)) = (&self.snapshot_key, &self.timestamp_key) else {
            return Ok(None);
        };
        let key = self.unlock.open(snapshot, with)?;
        let other = (snapshot != timestamp).then(|| self.unlock.open(timestamp, with));
        Ok(Some(Keys { snapshot: key, timestamp: other.transpose()? }))
    }

    fn server(&self) -> Result<Option<Server>, Failure> {
        let (Some(address), Some(ca), Some(token)) =
            (&self.server, &self.server_ca, &self.token_file)
        else {
            return Ok(None);
        };
        let token = Zeroizing::new(disk::read(token)?);
        let token = Secret::new(String::from_utf8_lossy(&token).into_owned());
        Ok(Some(Server::new(address, &disk::read(ca)?, &token)?))
    }
}

/// Images first: a server refuses metadata that lists images it does not have.
fn upload(server: &Server, publication: &Publication) -> Result<(), Failure> {
    let product = product(publication)?;
    server.find(&product)?;
    let bytes = publication.images().iter().map(|image| image.length).sum();
    let style = "{msg:30} [{bar:40}] {bytes}/{total_bytes}";
    let style =
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(bytes).with_style(style);
    for image in publication.images() {
        bar.set_message(image.target.clone());
        server.put_image(&product, image, |file| bar.wrap_read(file))?;
    }
    bar.finish_and_clear();
    Ok(server.post_metadata(&product, publication.bundle()?)?)
}

fn product(publication: &Publication) -> Result<ProductId, Failure> {
    product_of(publication.repo()).ok_or(Failure::Publish(Error::Director))
}
