//! What the endpoint shares with the rest of the server, besides who is connected and what they find
//! again.

use waxwing_wire::DeviceId;
use waxwing_wire::topic::Kind;

use super::{Audience, Grants, Refusals};
use crate::store::device_readers::Grant;
use crate::store::{self, Store, device_readers};

/// Who listens to what. Clones share it.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Those who listen to what devices say.
    pub audience: Audience,
    /// What devices may read of others.
    pub grants: Grants,
    /// What was refused.
    pub refusals: Refusals,
}

impl Shared {
    /// Takes up what was granted.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn load(store: &Store) -> Result<Self, store::Error> {
        let all = device_readers::all(store).await?;
        let grants = Grants::new(all.into_iter().flat_map(each));
        Ok(Self { audience: Audience::default(), grants, refusals: Refusals::default() })
    }
}

fn each(grant: Grant) -> impl Iterator<Item = (DeviceId, DeviceId, Kind)> {
    let Grant { device, reader, kinds, .. } = grant;
    kinds.into_iter().map(move |kind| (reader.clone(), device.clone(), kind))
}
