//! Commands on their way to the agent, and answers on their way back.

use std::time::Duration;

use waxwing_agent::Action;
use waxwing_agent::driver::Driver;
use waxwing_agent::network::Message;
use waxwing_agent::ports::ResetReason;
use waxwing_esp_image::model::Rollback;
use waxwing_tuf::command::COMMAND_BYTES_MAX;
use waxwing_wire::command::{Command, Order};
use waxwing_wire::envelope::Envelope;
use waxwing_wire::topic::Kind;

use crate::world::{Tested, World, block_on, image};

/// A device for which there is no update.
fn world() -> World {
    let world = World::new(&image("1.0.0", b"old"), &image("1.1.0", b"new"), Rollback::Enabled);
    world.backend.borrow_mut().withdrawn = true;
    world
}

fn start(world: &mut World) -> Driver<Tested> {
    let running = world.board.start(ResetReason::PowerOn).unwrap();
    world.driver(&running).unwrap()
}

impl World {
    /// Has this command come next.
    fn command(&self, seq: u64, number: u64) {
        let command =
            Command::Application { name: "beep".parse().unwrap(), arguments: "{}".into() };
        let bytes = self.backend.borrow().command(seq, &Order { number, command });
        self.talk.borrow_mut().coming.push_back(Message::Command(bytes));
    }
}

#[test]
fn of_the_commands_that_come_before_the_first_poll_the_newest_is_carried_out_after_it() {
    let mut world = world();
    world.command(1, 6);
    world.command(2, 7);
    let long = Message::Command(vec![b' '; COMMAND_BYTES_MAX + 1]);
    world.talk.borrow_mut().coming.push_back(long);
    let mut driver = start(&mut world);
    while driver.next() != Action::Poll {
        block_on(driver.turn());
    }
    assert!(world.talk.borrow().coming.is_empty(), "all of them came before");
    assert_eq!(driver.agent().record().order, 0, "nobody knows whether they are void");
    let polled = block_on(driver.turn()).failed;
    assert_eq!(polled, None);
    for _ in 0..2 {
        block_on(driver.turn());
    }
    assert_eq!(driver.agent().record().order, 7);
}

#[test]
fn an_answer_that_a_broker_lost_goes_out_again_when_the_command_comes_again() {
    let mut world = world();
    world.talk.borrow_mut().is_connected = true;
    let mut driver = start(&mut world);
    while driver.agent().unix_s(Duration::ZERO).is_none() {
        block_on(driver.turn());
    }
    for seq in 1..4 {
        world.command(seq, 7);
        for _ in 0..6 {
            block_on(driver.turn());
        }
    }
    let talk = world.talk.borrow();
    let said = talk.said.iter().filter(|(kind, ..)| *kind == Kind::Response);
    let said: Vec<_> = said
        .map(|(_, id, envelope)| {
            (id, Envelope::parse(envelope.as_bytes()).unwrap().payload.to_owned())
        })
        .collect();
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said.iter().all(|it| *it == said[0] && it.1.contains("done")), "{said:?}");
}
