//! Where a device keeps the metadata it trusts.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use waxwing_tuf::{Store, StoreError};

use crate::credentials::replace_file;
use crate::shared::{Bytes, Shared};

/// The trusted files of one repository. Clones are the same store: it outlives a restart.
#[derive(Clone, Debug)]
pub enum Metadata {
    /// In a folder, one file each.
    Folder(PathBuf),
    /// In memory, for one of thousands of devices: what many have is held once.
    Memory(Rc<RefCell<Files>>, Shared),
}

/// Files by their names.
type Files = BTreeMap<String, Arc<Bytes>>;

impl Metadata {
    /// Keeps files in a folder, made if it is not there.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn in_folder(path: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&path)?;
        Ok(Self::Folder(path))
    }

    /// Keeps files in memory.
    pub fn in_memory() -> Self {
        Self::sharing(&Shared::default())
    }

    /// Keeps files in memory, together with others.
    pub fn sharing(shared: &Shared) -> Self {
        Self::Memory(Rc::default(), shared.clone())
    }
}

impl Store for Metadata {
    fn load(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match self {
            Self::Folder(folder) => match fs::read(folder.join(file_name(name))) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(_) => Err(StoreError),
            },
            Self::Memory(files, _) => Ok(files.borrow().get(name).map(|file| file.to_vec())),
        }
    }

    fn save(&mut self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        match self {
            Self::Folder(folder) => {
                replace_file(&folder.join(file_name(name)), bytes).map_err(|_| StoreError)
            }
            Self::Memory(files, shared) => {
                files.borrow_mut().insert(name.to_owned(), shared.get(bytes));
                Ok(())
            }
        }
    }

    fn remove(&mut self, name: &str) -> Result<(), StoreError> {
        match self {
            Self::Folder(folder) => match fs::remove_file(folder.join(file_name(name))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError),
                Ok(()) | Err(_) => Ok(()),
            },
            Self::Memory(files, _) => {
                files.borrow_mut().remove(name);
                Ok(())
            }
        }
    }
}

/// A role may have any name; a file may not. Everything but plain characters becomes hexadecimal.
fn file_name(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let text: String = name
        .strip_suffix(".json")
        .unwrap_or(name)
        .bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).into() } else { format!("%{byte:02x}") })
        .collect();
    format!("{text}.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_keep_what_was_saved() {
        let folder = tempfile::tempdir().unwrap();
        for mut store in
            [Metadata::in_memory(), Metadata::in_folder(folder.path().join("d")).unwrap()]
        {
            assert_eq!(store.load("root.json"), Ok(None));
            store.save("root.json", b"1").unwrap();
            store.save("root.json", b"2").unwrap();
            assert_eq!(store.clone().load("root.json"), Ok(Some(b"2".to_vec())));
            store.remove("root.json").unwrap();
            store.remove("root.json").unwrap();
            assert_eq!(store.load("root.json"), Ok(None));
        }
    }

    #[test]
    fn no_role_name_leaves_the_folder_or_meets_another() {
        assert_eq!(file_name("../../etc/passwd"), "%2e%2e%2f%2e%2e%2fetc%2fpasswd.json");
        assert_ne!(file_name("a.b.json"), file_name("a%2eb.json"));
        assert_eq!(file_name("acme-th1-stable.json"), "acme-th1-stable.json");
    }
}
