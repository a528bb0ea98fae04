//! What a client listens to of what devices say.
//!
//! Not here: the way there (`audience`), nor who may listen (`scope`).

use waxwing_wire::topic::{Kind, Topic};

use super::{Action, Session, State};
use crate::mqtt::audience::Said;
use crate::mqtt::codec::Outgoing;
use crate::mqtt::filter::Filter;
use crate::mqtt::grants::Readable;
use crate::mqtt::keeper::Subscribed;
use crate::mqtt::reason::Reason;
use crate::mqtt::scope::{Scope, Subscription};

/// Most filters of one connection: each message is compared with all of them.
const FEEDS_MAX: usize = 32;

impl Session {
    /// Adds a filter; one that is there already stays as it is.
    pub(super) fn listen(&mut self, text: &str, filter: Filter) -> Result<(), Reason> {
        let State::Open(open) = &mut self.state else { return Err(Reason::NotAuthorized) };
        if open.feeds.iter().any(|(known, _)| known == text) {
            return Ok(());
        }
        if open.feeds.len() >= FEEDS_MAX {
            return Err(Reason::QuotaExceeded);
        }
        open.feeds.push((text.to_owned(), filter));
        open.feeds_changed = true;
        Ok(())
    }

    /// Takes a filter away, and returns whether it was there.
    pub(super) fn unlisten(&mut self, text: &str) -> bool {
        let State::Open(open) = &mut self.state else { return false };
        let before = open.feeds.len();
        open.feeds.retain(|(known, _)| known != text);
        let was_there = open.feeds.len() < before;
        open.feeds_changed |= was_there;
        was_there
    }

    /// Has what the client subscribes to now noted, where its session is kept, and has it hear that:
    /// before it is told that it does.
    pub(super) fn settle(&mut self) {
        let State::Open(open) = &mut self.state else { return };
        let commands = open.outbox.subscription().filter(|_| open.by_existing_name);
        let name = commands.and_then(|_| existing_commands(&self.scope));
        let feeds = open.feeds.iter().map(|(text, _)| text.clone()).chain(name).collect();
        let subscribed = Subscribed { commands: open.outbox.subscription(), feeds };
        if open.is_kept && open.noted != subscribed {
            open.noted = subscribed.clone();
            self.actions.push(Action::Note(subscribed));
        }
        if open.feeds_changed {
            open.feeds_changed = false;
            let filters = open.feeds.iter().map(|(_, filter)| filter.clone()).collect();
            self.actions.push(Action::Hear(filters));
        }
    }

    /// Goes on with what the session before listened to, as far as it still may.
    pub(super) fn listen_again(&mut self, feeds: &[String]) {
        for text in feeds {
            match self.scope.subscribe(text, &self.readable) {
                Ok(Subscription::Commands) => self.name_commands(text),
                Ok(Subscription::Feed(feed)) => {
                    // There were no more of them before.
                    let _ = self.listen(text, feed);
                }
                Err(_) => {}
            }
        }
        self.settle();
    }

    /// Ends what the client may listen to no more.
    pub(super) fn granted(&mut self, readable: Readable) {
        self.readable = readable;
        let State::Open(open) = &mut self.state else { return };
        let before = open.feeds.len();
        open.feeds.retain(|(text, _)| self.scope.subscribe(text, &self.readable).is_ok());
        open.feeds_changed |= open.feeds.len() < before;
        self.settle();
    }

    /// Passes a message on, unless the client has unsubscribed since.
    pub(super) fn said(&mut self, said: &Said) {
        let State::Open(open) = &mut self.state else { return };
        let finds = |(_, filter): &(String, Filter)| filter.finds(&said.device, said.kind);
        if !open.feeds.iter().any(finds) {
            return;
        }
        let topic = Topic { device: said.device.clone(), kind: said.kind }.to_string();
        let packet =
            Outgoing::Publish { topic: &topic, payload: &said.payload, id: None, again: false };
        // MQTT 5, 3.1.2.11.4: what is too large for the client is dropped as if delivered.
        let fits = |bytes: &Vec<u8>| bytes.len() <= self.packet_bytes_max;
        self.actions.extend(self.codec.encode(&packet).ok().filter(fits).map(Action::Send));
    }
}

/// Returns what an existing device calls the topic of its commands.
fn existing_commands(scope: &Scope) -> Option<String> {
    let Scope::Device(device) = scope else { return None };
    Topic { device: device.clone(), kind: Kind::Command }.existing_name()
}
