//! A command of the Director, properly signed, from any signed part (D7).

use std::collections::BTreeMap;

use serde_json::Value as Json;
use waxwing_tuf::Time;
use waxwing_tuf::author::Signer as _;
use waxwing_tuf::command::Command;
use waxwing_tuf::role::Signers;
use waxwing_tuf::verify::verify_command;
use waxwing_wire::command::{ARGUMENTS_BYTES_MAX, Command as Wanted, Order};

use crate::signed::{DEVICE, NOW_S, SIGNER, sign};

/// The number of the last command.
const LAST_SEQ: u64 = 5;

/// What is accepted is a command, for this device, new, and not expired.
pub fn check(part: &[u8]) {
    let Some(file) = sign(part) else { return };
    let signers = Signers::new(1, vec![(SIGNER.key_id(), SIGNER.public().clone())]);
    let now = Time::from_seconds(NOW_S);
    let Ok(command) = verify_command(&file, &signers, DEVICE, now, LAST_SEQ) else { return };
    let json: Json = serde_json::from_slice(part).expect("serde reads what we accept");
    assert_eq!(json["_type"], "command");
    assert_eq!(json["repo"], "director");
    assert_eq!(json["device"], DEVICE);
    assert_eq!(json["seq"].as_u64(), Some(command.seq));
    assert!(command.seq > LAST_SEQ, "played again");
    assert!(command.expires > now, "expired");
    assert_eq!(json["expires"].as_str(), Some(&*command.expires.to_string()));
    let content: Json = serde_json::from_str(command.content().as_raw()).expect("JSON");
    assert_eq!(json["command"], content);
    assert!(content.is_object());
    check_order(&content, &command);
}

/// What is understood is what serde reads, within the limits, and the same when written again.
fn check_order(content: &Json, command: &Command) {
    let field = |name: &str| Some(command.content().field(name)?.as_text()?.to_string());
    let Some(order) = Order::read(field) else { return };
    let fields: BTreeMap<_, _> = order.fields().into_iter().collect();
    for (name, text) in &fields {
        let signed = content[name].as_str().expect("a text");
        let is_number = matches!(*name, "number" | "seconds");
        assert!(signed == text || is_number && signed.parse::<u64>() == text.parse(), "{name}");
    }
    if let Wanted::Application { arguments, .. } = &order.command {
        assert!(arguments.len() <= ARGUMENTS_BYTES_MAX);
    }
    assert_eq!(Order::read(|name| fields.get(name).cloned()), Some(order), "another order");
}
