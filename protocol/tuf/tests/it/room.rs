//! A store that has no room for roles.

use std::cell::RefCell;
use std::rc::Rc;

use waxwing_tuf::{Cause, MemoryStore, Store, StoreError};

use crate::world::{World, installs};

/// Keeps the three files that it must.
#[derive(Debug, Default)]
struct Small(MemoryStore);

impl Store for Small {
    fn load(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.load(name)
    }

    fn save(&mut self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        match name {
            "root.json" | "timestamp.json" | "snapshot.json" => self.0.save(name, bytes),
            _ => Err(StoreError),
        }
    }

    fn remove(&mut self, name: &str) -> Result<(), StoreError> {
        self.0.remove(name)
    }
}

fn roles<S: Store>(client: &waxwing_tuf::uptane::Client<S>) -> Vec<String> {
    let names = client.have().map(|(_, name, _)| name.to_owned());
    names.filter(|name| name.contains("targets") || name.contains("stable")).collect()
}

#[test]
fn a_device_that_cannot_keep_roles_is_updated_all_the_same_and_claims_none() {
    let mut world = World::new();
    let mut client = world.reopen((Small::default(), Small::default()));
    for _ in 0..3 {
        installs(world.poll(&mut client));
        assert!(roles(&client).is_empty());
        world.decide();
    }
}

/// One whose files others take away.
#[derive(Clone, Debug, Default)]
struct Shared(Rc<RefCell<MemoryStore>>);

impl Store for Shared {
    fn load(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.borrow().load(name)
    }

    fn save(&mut self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.0.borrow_mut().save(name, bytes)
    }

    fn remove(&mut self, name: &str) -> Result<(), StoreError> {
        self.0.borrow_mut().remove(name)
    }
}

#[test]
fn a_role_that_the_store_dropped_is_claimed_no_longer_once_it_was_missed() {
    let mut world = World::new();
    let image = Shared::default();
    let mut client = world.reopen((Shared::default(), image.clone()));
    installs(world.poll(&mut client));
    assert_eq!(roles(&client), ["targets", "acme-th1-stable", "targets"]);
    image.0.borrow_mut().remove("targets.json").unwrap();
    world.decide();
    // The server left out what this device said that it has.
    let left_out = world.image.served.files.remove("1.targets.json").unwrap();
    let missing = Cause::Missing.of("image/1.targets.json");
    assert_eq!(world.poll(&mut client), Err(missing));
    assert_eq!(roles(&client), ["targets", "acme-th1-stable"]);
    world.image.served.files.insert("1.targets.json".into(), left_out);
    installs(world.poll(&mut client));
}
