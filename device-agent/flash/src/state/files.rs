//! Files made of the items of `sequential-storage`: pieces, and a head that says which count.
//!
//! Not here: how much room there must be, which is [`super::budget`]'s.

use alloc::vec::Vec;

use sequential_storage::cache::{Cache, Uncached};
use sequential_storage::map::MapStorage;
use sha2::{Digest as _, Sha256};

use super::StateError;
use super::budget::{FILE_BYTES_MAX, stored_bytes};
use super::sectors::{Sectors, at_once};
use crate::region::Chip;

/// Bytes of a piece: five fill a sector. Longer ones waste more of it where they do not fit, shorter
/// ones take longer to find.
pub(super) const PIECE_BYTES: usize = 760;
/// Room for a piece or a head, with its key.
const ITEM_BYTES_MAX: usize = 1024;

/// Name (the beginning of its SHA-256), generation, index of the piece.
type Key = [u8; KEY_BYTES];
/// Bytes of a key.
pub(super) const KEY_BYTES: usize = NAME_BYTES + 2;
/// Bytes of a name's SHA-256 in a key; the head has the whole name.
const NAME_BYTES: usize = 6;
/// Index of a head.
pub(super) const HEAD: u8 = 0xff;
/// Format, generation, length, SHA-256; the name follows.
pub(super) const HEAD_BYTES: usize = 1 + 1 + 4 + 32;

/// First byte of the head of a file that is needed, and of a role; others are not ours.
const NEEDED: u8 = 1;
const ROLE: u8 = 2;

/// What becomes of a file when room is short.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Use {
    /// It stays.
    Needed,
    /// It goes: the server has it.
    Role,
}

pub(super) struct Files<F: Chip> {
    pub(super) map: MapStorage<Key, Sectors<F>, Cache<Uncached, Uncached, Uncached, Key>>,
    /// Bytes of flash that roles may take.
    pub(super) role_bytes_max: usize,
}

/// Which version of a file counts.
#[derive(Clone, Copy)]
struct Head {
    kind: Use,
    generation: u8,
    length: usize,
    sha256: [u8; 32],
}

/// The newest item under a key.
struct Item {
    key: Key,
    /// Of a head that is not empty.
    file: Option<Extent>,
}

/// Which items are those of a file. All heads of a device are looked at together, and their hashes would
/// take most of the memory.
#[derive(Clone, Copy)]
struct Extent {
    kind: Use,
    generation: u8,
    length: usize,
}

impl<F: Chip> Files<F> {
    pub(super) fn load(&mut self, name: &str) -> Result<Option<Vec<u8>>, StateError> {
        let Some(head) = self.head(name)? else { return Ok(None) };
        let mut bytes = Vec::with_capacity(head.length);
        for index in pieces(head.length) {
            bytes.extend_from_slice(&self.item(key(name, head.generation, index))?);
        }
        let is_whole = bytes.len() == head.length && sha256(&bytes) == head.sha256;
        if is_whole { Ok(Some(bytes)) } else { Err(StateError::Corrupt) }
    }

    pub(super) fn save(&mut self, name: &str, bytes: &[u8], kind: Use) -> Result<(), StateError> {
        if bytes.len() > FILE_BYTES_MAX {
            return Err(StateError::TooLong);
        }
        let mut head = Head { kind, generation: 0, length: bytes.len(), sha256: sha256(bytes) };
        let mut before = self.head_if_intact(name)?;
        if before.is_some_and(|before| head.is_same_as(&before)) {
            return Ok(());
        }
        if kind == Use::Role && !self.has_room_beside(name, &head, before.as_ref())? {
            before = None;
        }
        head.generation = before.map_or(0, |before| before.generation ^ 1);
        let mut written = self.write(name, &head, bytes);
        if written == Err(StateError::Full) {
            self.sweep(kind == Use::Needed)?;
            written = self.write(name, &head, bytes);
        }
        match (written, before) {
            // Nothing counts the pieces that were written.
            (Err(StateError::Full), _) => self.sweep(false).and(Err(StateError::Full)),
            (Ok(()), Some(before)) => self.empty(name, &before),
            (written, _) => written,
        }
    }

    pub(super) fn remove(&mut self, name: &str) -> Result<(), StateError> {
        if self.item(key(name, 0, HEAD))?.is_empty() {
            return Ok(());
        }
        let before = self.head_if_intact(name)?;
        self.store(key(name, 0, HEAD), &[])?;
        before.map_or(Ok(()), |before| self.empty(name, &before))
    }

    /// Whether there is room for a role beside the one that it replaces, and all others. If there
    /// is only without that one, it goes.
    fn has_room_beside(
        &mut self,
        name: &str,
        new: &Head,
        before: Option<&Head>,
    ) -> Result<bool, StateError> {
        let heads = self.items(|key| key == head_key(key))?;
        let roles = heads.iter().filter_map(|item| item.file).filter(|file| file.kind == Use::Role);
        let taken: usize = roles.map(|role| stored_bytes(role.length)).sum();
        let all = taken.saturating_add(stored_bytes(new.length));
        if all <= self.role_bytes_max {
            return Ok(true);
        }
        self.remove(name)?;
        let own = before.map_or(0, |before| stored_bytes(before.length));
        if all.saturating_sub(own) <= self.role_bytes_max {
            Ok(false)
        } else {
            Err(StateError::Full)
        }
    }

    /// Writes a file beside its version before, whose head counts until this one is written.
    fn write(&mut self, name: &str, head: &Head, bytes: &[u8]) -> Result<(), StateError> {
        for (index, piece) in pieces(bytes.len()).zip(bytes.chunks(PIECE_BYTES)) {
            self.store(key(name, head.generation, index), piece)?;
        }
        self.store(key(name, 0, HEAD), &head.encode(name))
    }

    /// Makes room of the pieces that no longer count. After a power cut they wait for a sweep.
    fn empty(&mut self, name: &str, head: &Head) -> Result<(), StateError> {
        for index in pieces(head.length) {
            self.store(key(name, head.generation, index), &[])?;
        }
        Ok(())
    }

    /// Takes out all that does not count: pieces of saves that ended early, what is left of files
    /// that are gone, and roles where a file is needed more. Slow, and only done when room is short.
    fn sweep(&mut self, roles: bool) -> Result<(), StateError> {
        let items = self.items(|_| true)?;
        let is_role = |file: &Extent| file.kind == Use::Role;
        let counts = |key: Key| {
            let of = head_key(key);
            let file = items.iter().find(|item| item.key == of).and_then(|item| item.file);
            let file = file.filter(|file| !(roles && is_role(file)));
            file.is_some_and(|file| file.counts(key))
        };
        // Heads first: a file without one is gone, a file without a piece is damaged.
        let (heads, pieces): (Vec<_>, Vec<_>) = items
            .iter()
            .map(|item| item.key)
            .filter(|key| !counts(*key))
            .partition(|key| *key == head_key(*key));
        for key in heads.iter().chain(&pieces) {
            let mut buffer = [0; ITEM_BYTES_MAX];
            at_once(self.map.remove_item(&mut buffer, key))?;
        }
        Ok(())
    }

    /// Returns what is in flash under the keys that are wanted.
    fn items(&mut self, wanted: fn(Key) -> bool) -> Result<Vec<Item>, StateError> {
        let mut found: Vec<Item> = Vec::new();
        at_once(async {
            let (mut buffer, mut value) = ([0; ITEM_BYTES_MAX], [0; ITEM_BYTES_MAX]);
            let mut all = self.map.fetch_all_items(&mut buffer).await?;
            while let Some((key, value)) = all.next::<&[u8]>(&mut value).await? {
                if !wanted(key) {
                    continue;
                }
                let is_head = key == head_key(key);
                let file = Head::read(value).map(|(head, _)| head.extent()).filter(|_| is_head);
                // The last one under a key is the newest.
                match found.iter_mut().find(|item| item.key == key) {
                    Some(item) => item.file = file,
                    None => found.push(Item { key, file }),
                }
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Returns the head of a file to be replaced or removed: one that is damaged names no pieces.
    fn head_if_intact(&mut self, name: &str) -> Result<Option<Head>, StateError> {
        Ok(Head::decode(&self.item(key(name, 0, HEAD))?, name))
    }

    fn head(&mut self, name: &str) -> Result<Option<Head>, StateError> {
        let bytes = self.item(key(name, 0, HEAD))?;
        if bytes.is_empty() {
            return Ok(None);
        }
        Head::decode(&bytes, name).ok_or(StateError::Corrupt).map(Some)
    }

    /// Returns an item; nothing if there is none.
    fn item(&mut self, key: Key) -> Result<Vec<u8>, StateError> {
        let mut buffer = [0; ITEM_BYTES_MAX];
        let found = at_once(self.map.fetch_item::<&[u8]>(&mut buffer, &key))?;
        Ok(found.unwrap_or_default().to_vec())
    }

    pub(super) fn store(&mut self, key: Key, value: &[u8]) -> Result<(), StateError> {
        let mut buffer = [0; ITEM_BYTES_MAX];
        at_once(self.map.store_item(&mut buffer, &key, &value))
    }
}

impl Extent {
    /// Whether an item of this file is one of its pieces now, or its head.
    fn counts(&self, key: Key) -> bool {
        let [.., generation, index] = key;
        let is_piece = pieces(self.length).any(|piece| piece == index);
        key == head_key(key) || (generation == self.generation && is_piece)
    }
}

impl Head {
    fn is_same_as(&self, other: &Self) -> bool {
        let of = |head: &Self| (head.kind, head.length, head.sha256);
        of(self) == of(other)
    }

    const fn extent(&self) -> Extent {
        Extent { kind: self.kind, generation: self.generation, length: self.length }
    }

    fn encode(&self, name: &str) -> Vec<u8> {
        let length = u32::try_from(self.length).unwrap_or(u32::MAX);
        let kind = match self.kind {
            Use::Needed => NEEDED,
            Use::Role => ROLE,
        };
        let mut bytes = Vec::with_capacity(HEAD_BYTES + name.len());
        bytes.extend_from_slice(&[kind, self.generation]);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&self.sha256);
        bytes.extend_from_slice(name.as_bytes());
        bytes
    }

    /// Reads the head of a file with this name.
    fn decode(bytes: &[u8], name: &str) -> Option<Self> {
        Self::read(bytes).filter(|(_, of)| *of == name.as_bytes()).map(|(head, _)| head)
    }

    /// Reads a head and the name in it.
    fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (&[kind, generation], rest) = bytes.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (sha256, name) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let kind = match kind {
            NEEDED => Use::Needed,
            ROLE => Use::Role,
            _ => return None,
        };
        let head = Self { kind, generation, length, sha256: *sha256 };
        (length <= FILE_BYTES_MAX).then_some((head, name))
    }
}

pub(super) fn key(name: &str, generation: u8, index: u8) -> Key {
    let mut key = [0, 0, 0, 0, 0, 0, generation, index];
    key.iter_mut().take(NAME_BYTES).zip(sha256(name.as_bytes())).for_each(|(to, from)| *to = from);
    key
}

/// Returns the key of the head of the file that an item belongs to.
fn head_key(mut key: Key) -> Key {
    let [.., generation, index] = &mut key;
    (*generation, *index) = (0, HEAD);
    key
}

/// The indices of a file's pieces.
fn pieces(length: usize) -> impl Iterator<Item = u8> {
    let count = length.div_ceil(PIECE_BYTES);
    (0..HEAD).take(count)
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
