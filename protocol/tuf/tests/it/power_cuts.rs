//! The power may go at any write: what is in the store is then old or new, never half trusted.

use std::cell::Cell;
use std::rc::Rc;

use waxwing_tuf::uptane::{Answer, Client};
use waxwing_tuf::{Cause, Limits, MemoryStore, Repository, Store, StoreError};

use crate::support::{Author, NOW, key_id, key_json, role_json};
use crate::world::World;

/// A store whose power fails after so many writes, all of them atomic.
#[derive(Clone, Debug)]
struct Cut {
    store: MemoryStore,
    writes_left: Rc<Cell<usize>>,
}

impl Cut {
    fn new(store: MemoryStore, writes_left: &Rc<Cell<usize>>) -> Self {
        Self { store, writes_left: Rc::clone(writes_left) }
    }

    fn write(&mut self) -> Result<&mut MemoryStore, StoreError> {
        let left = self.writes_left.get().checked_sub(1).ok_or(StoreError)?;
        self.writes_left.set(left);
        Ok(&mut self.store)
    }
}

impl Store for Cut {
    fn load(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.load(name)
    }

    fn save(&mut self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.write()?.save(name, bytes)
    }

    fn remove(&mut self, name: &str) -> Result<(), StoreError> {
        self.write()?.remove(name)
    }
}

#[test]
fn a_refresh_that_is_cut_short_is_finished_by_the_next() {
    // First contact; then a release behind a root that rotates the timestamp key.
    let mut old = Author::new();
    let mut before = old.client();
    before.refresh(&mut old.served, NOW).unwrap();
    let before = before.into_store();
    let mut new = old.clone();
    new.root.bump();
    new.root["keys"][key_id(14)] = key_json(14);
    new.root["roles"]["timestamp"] = role_json(1, &[14]);
    new.timestamp.keys = vec![14];
    new.release();
    let root = old.served.files["1.root.json"].clone();
    let open = |store, writes: &Rc<Cell<usize>>| {
        Repository::open(Cut::new(store, writes), &root, None, Limits::HOST)
    };
    for start in [MemoryStore::new(), before] {
        let mut finished = false;
        for writes in 0..20 {
            let mut store = start.clone();
            let left = Rc::new(Cell::new(writes));
            match open(start.clone(), &left) {
                Err(refusal) => assert_eq!(refusal.cause, Cause::Store(StoreError)),
                Ok(mut client) => {
                    let cut = client.refresh(&mut new.served, NOW);
                    finished = cut.is_ok();
                    assert!(finished || cut.unwrap_err().cause == Cause::Store(StoreError));
                    store = client.into_store().store;
                }
            }
            left.set(usize::MAX);
            let mut client = open(store, &left).unwrap();
            client.refresh(&mut new.served, NOW).unwrap();
            let versions: Vec<_> = client.versions().collect();
            assert_eq!(versions, [("root", 2), ("timestamp", 2), ("snapshot", 2), ("targets", 2)]);
        }
        assert!(finished, "twenty writes are enough");
    }
}

#[test]
fn a_poll_that_is_cut_short_is_answered_by_the_next() {
    for writes in 0..20 {
        let mut world = World::new();
        let left = Rc::new(Cell::new(usize::MAX));
        let empty = || Cut::new(MemoryStore::new(), &left);
        let mut client = world.reopen((empty(), empty()));
        world.poll(&mut client).unwrap();
        // A root rotation and a new decision, then the cut.
        world.director.root.bump();
        world.director.root["keys"][key_id(14)] = key_json(14);
        world.director.root["roles"]["timestamp"] = role_json(1, &[14]);
        world.director.timestamp.keys = vec![14];
        world.decide();
        left.set(writes);
        let cut = world.poll(&mut client);
        assert!(cut.is_ok() || cut.is_err_and(|refusal| refusal.cause == Cause::Store(StoreError)));
        left.set(usize::MAX);
        let mut client: Client<Cut> = world.reopen(client.into_stores());
        assert!(matches!(world.poll(&mut client), Ok(Answer::Install(_))), "after {writes} writes");
        assert_eq!(world.poll(&mut client), Ok(Answer::Idle));
    }
}
