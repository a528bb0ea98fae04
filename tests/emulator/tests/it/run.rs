//! Runs a flash and returns what the chip said and did.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;
use std::time::Duration;

use waxwing_emulator::flash::{Cut, Nor};
use waxwing_emulator::machine::{Limits, Machine, Summary};
use waxwing_emulator::net::Network;
use waxwing_emulator::serial::Serial;

/// The world gives up after this; no test here takes a second on a machine that is not busy.
const PATIENCE: Duration = Duration::from_mins(2);

/// What to run, and until when.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) flash: Vec<u8>,
    pub(crate) until: Option<&'static str>,
    pub(crate) virtual_time: Duration,
    pub(crate) resets: usize,
    pub(crate) cut: Option<Cut>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) summary: Summary,
    pub(crate) said: String,
    pub(crate) flash: Vec<u8>,
}

impl Run {
    pub(crate) fn of(flash: Vec<u8>) -> Self {
        Self { flash, until: None, virtual_time: Duration::from_secs(30), resets: 20, cut: None }
    }

    #[track_caller]
    pub(crate) fn go(self) -> Outcome {
        let capacity = self.flash.len();
        let mut flash = Nor::new(self.flash).unwrap();
        if let Some(cut) = self.cut {
            flash.plan(cut);
        }
        let said = Shared::default();
        let serial = Serial::new(Box::new(said.clone()), self.until.map(str::to_owned));
        let limits =
            Limits { wall: PATIENCE, virtual_time: self.virtual_time, resets: self.resets };
        let network = Network::new(&[]).unwrap();
        let mut machine = Machine::new(flash, serial, network, 1, limits).unwrap();
        let summary = machine.run().unwrap();
        let said = String::from_utf8_lossy(&said.0.borrow()).into_owned();
        Outcome { summary, said, flash: machine.flash().read(0, capacity) }
    }
}

#[derive(Clone, Default)]
struct Shared(Rc<RefCell<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
