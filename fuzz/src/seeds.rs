//! The corpus that every run begins with: small examples, made by our own authors, most of them good
//! and some just beyond a limit, named after what is wrong with them.

use serde_json::{Value as Json, json};
use waxwing_esp_image::Chip;
use waxwing_esp_image::partition::{self, Kind as Purpose, Partition};
use waxwing_esp_image::write::AppBuilder;
use waxwing_tuf::Time;
use waxwing_wire::bundle::{Kind, Writer};

use crate::client::NONCE;
use crate::metadata::hex;
use crate::signed::{DEVICE, NOW_S, PRODUCT, part_of, root};
use crate::{csr, est};

/// The examples of one target, with their names.
pub type Seeds = Vec<(&'static str, Vec<u8>)>;

/// The examples of every target, with its name.
pub fn all() -> Vec<(&'static str, Seeds)> {
    vec![
        ("answer", crate::answer::seeds()),
        ("arguments", crate::arguments::seeds()),
        ("broker", crate::broker::seeds()),
        ("bundle", vec![("answer", answer()), ("empty", Writer::new().finish(60))]),
        ("chunks", vec![("first_chunk", crate::chunks::list()), ("no_whole_line", vec![0; 40])]),
        ("client", client()),
        ("command", commands()),
        (
            "csr",
            vec![
                ("info", csr::info()),
                ("renewal", csr::renewal()),
                ("request", csr::signed(&csr::info())),
            ],
        ),
        ("enrol_uri", vec![("two_cas", enrol_uri(2)), ("one_ca_too_many", enrol_uri(5))]),
        ("envelope", vec![("report", ENVELOPE.into()), ("telemetry", TELEMETRY.into())]),
        ("est", est()),
        ("frame", crate::frame::seeds()),
        ("http", http()),
        ("image", image()),
        ("journal", journal()),
        ("json", json_texts()),
        ("metadata", metadata()),
        ("mqtt", mqtt()),
        ("otadata", otadata()),
        ("partition_table", vec![("two_slots", table())]),
        (
            "poll",
            vec![
                ("poll", POLL.into()),
                ("full", full_poll(16)),
                ("one_file_too_many", full_poll(17)),
            ],
        ),
        (
            "provision",
            vec![
                ("device", device(b"ota.example:8443")),
                ("address_too_long", device(&[b'h'; 260])),
            ],
        ),
        ("query", queries()),
        (
            "secure_boot",
            vec![
                ("ecdsa", block(3)),
                ("rsa", block(2)),
                ("three", [block(3).repeat(3), vec![0xff; 448]].concat()),
            ],
        ),
        ("tls", tls()),
    ]
}

fn queries() -> Seeds {
    vec![
        ("hawkbit", b"(tag==beta or tag==canary) and name==th1-*".into()),
        ("ours", br#"version=lt=1.4.0;attribute.n>=2,tag.site=out=("a b",'c\*')"#.into()),
        ("one_value_too_many", format!("tag=in=({})", ["a"; 513].join(",")).into()),
    ]
}

/// A URI for a device whose server may be known by so many certificates.
fn enrol_uri(cas: u8) -> Vec<u8> {
    let ca = |n| format!("&ca={}", hex(&[n; 32]));
    let cas: String = (0..cas).map(ca).collect();
    format!("waxwing:1?device=d-1&enrol=ota.example:8444&token=t0ken{cas}").into()
}

/// The fields of a device whose server is at this address.
fn device(server: &[u8]) -> Vec<u8> {
    let fields: [(u8, &[u8]); 12] = [
        (1, b"d-1"),
        (2, b"acme-th1"),
        (3, b"r2"),
        (4, b"stable"),
        (5, server),
        (6, b"ota.example:8444"),
        (7, b"ota.example:8883"),
        (8, b"t0ken"),
        (9, b"{}"),
        (10, b"{}"),
        (11, b"-----BEGIN CERTIFICATE-----"),
        (127, b"of a later tool"),
    ];
    let field = |(tag, bytes): (u8, &[u8])| {
        let length = u16::try_from(bytes.len()).expect("it is short").to_le_bytes();
        [&[tag], length.as_slice(), bytes].concat()
    };
    fields.into_iter().flat_map(field).collect()
}

const ENVELOPE: &str = r#"{"device_id":"d-1","timestamp":1795167000,"message_id":"m-7","payload":{"rollout":"r-1","release":"1.4.2","state":"rolled_back","code":502,"fw_sha256":"abababababababababababababababababababababababababababababababab","attempt":1,"measured_at":1795167000},"signature":"3006"}"#;
const TELEMETRY: &str = r#"{"device_id":"d-1","timestamp":1795167000,"message_id":"m-8","payload":{"t" : 21.50},"signature":"00"}"#;
const POLL: &str = r#"{"nonce":"01010101010101010101010101010101","product":"acme-th1","hw":"r2","fw":"1.0.0","fw_sha256":"0202020202020202020202020202020202020202020202020202020202020202","security_version":3,"have":{"d.root":1,"i.timestamp":12},"reports":[{"device_id":"d-1"}]}"#;

/// Answers to an enrolment.
fn est() -> Seeds {
    let certificate = est::element(0x30, &[7; 150]);
    vec![
        ("answer", est::around(&est::inside(&certificate, &[]))),
        ("inside", est::inside(&certificate, &[])),
        ("certificate", certificate),
    ]
}

/// Answers of a server over HTTP.
fn http() -> Seeds {
    let ok = "HTTP/1.1 200 OK\r\n";
    vec![
        ("chunks", format!("{ok}transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n").into()),
        ("length", format!("{ok}content-length: 4\r\n\r\nTB1\n").into()),
        ("two_lengths", format!("{ok}content-length: 4\r\ncontent-length: 04\r\n\r\nTB1\n").into()),
    ]
}

/// What a server says over TLS, as steps of [`crate::tls`].
fn tls() -> Seeds {
    let sealed =
        |inside: &[u8]| [&[0, 0, u8::try_from(inside.len()).unwrap_or(0)], inside].concat();
    let extensions = [8, 0, 0, 2, 0, 0, 22];
    vec![
        ("honest", [&[3, 4, 2][..], &sealed(b"hello\x17")].concat()),
        ("no_certificate", [&sealed(&extensions)[..], &[2]].concat()),
    ]
}

/// A poll with so many files and as many reports as there may be.
fn full_poll(files: u8) -> Vec<u8> {
    let mut poll: Json = serde_json::from_str(POLL).expect("a poll");
    poll["have"] = (0..files).map(|role| (format!("i.{role}"), json!(1))).collect();
    poll["reports"] = vec![json!({}); 8].into();
    serde_json::to_vec(&poll).expect("JSON")
}

fn target(custom: &Json) -> Json {
    let custom_match = json!({
        "chip": "esp32c3", "hw": ["r1"], "kind": "app", "secure_version": 0,
        "security_version": 3, "version": "1.4.2",
    });
    let mut all = json!({ "match": custom_match });
    all.as_object_mut().expect("an object").extend(custom.as_object().expect("an object").clone());
    json!({ "custom": all, "hashes": { "sha256": "5a".repeat(32) }, "length": 4096 })
}

fn path() -> String {
    format!("{PRODUCT}/stable/1.4.2/esp32c3.bin")
}

/// Timestamp, snapshot and targets of a Director.
fn director(release: Option<Json>) -> Vec<(&'static str, Vec<u8>)> {
    let time = Time::from_seconds(NOW_S).to_string();
    let custom = json!({ "device": DEVICE, "nonce": hex(&NONCE), "time": time });
    let timestamp = json!({ "custom": custom, "meta": { "snapshot.json": { "version": 1 } } });
    let snapshot = json!({ "meta": { "targets.json": { "version": 1 } } });
    let listed = release.map_or_else(|| json!({}), |release| json!({ path(): release }));
    let targets = json!({ "custom": { "device": DEVICE }, "targets": listed });
    vec![
        ("timestamp.json", part_of("timestamp", "director", &timestamp)),
        ("1.snapshot.json", part_of("snapshot", "director", &snapshot)),
        ("1.targets.json", part_of("targets", "director", &targets)),
    ]
}

/// Timestamp, snapshot and targets of the product, which lists one release itself.
fn product() -> Vec<(&'static str, Vec<u8>)> {
    let repository = format!("image/{PRODUCT}");
    let timestamp = json!({ "meta": { "snapshot.json": { "version": 1 } } });
    let snapshot = json!({ "meta": { "targets.json": { "version": 1 } } });
    let targets = json!({ "targets": { path(): target(&json!({})) } });
    vec![
        ("timestamp.json", part_of("timestamp", &repository, &timestamp)),
        ("1.snapshot.json", part_of("snapshot", &repository, &snapshot)),
        ("1.targets.json", part_of("targets", &repository, &targets)),
    ]
}

fn answer() -> Vec<u8> {
    answer_to(DEVICE)
}

fn answer_to(device: &str) -> Vec<u8> {
    let custom = json!({
        "defer": { "times": 3, "until": 1_795_170_600 }, "deploy": "r-7", "device": device,
        "soak_s": 60,
    });
    bundle(&director(Some(target(&custom))), &product())
}

fn client() -> Seeds {
    vec![
        ("another_device", answer_to("d-2")),
        ("answer", answer()),
        ("nothing", bundle(&director(None), &[])),
    ]
}

/// The signatures are made by the target.
fn bundle(director: &[(&str, Vec<u8>)], image: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::new();
    for (kind, files) in [(Kind::Director, director), (Kind::Image, image)] {
        for (name, part) in files {
            let file = [br#"{"signed":"#, &part[..], b"}"].concat();
            writer.push(kind, name, &file).expect("a small file");
        }
    }
    writer.finish(60)
}

fn commands() -> Seeds {
    vec![
        ("application", command(6, &application(512))),
        ("arguments_too_long", command(6, &application(513))),
        ("command", command(6, &json!({ "name": "reboot", "number": "7" }))),
        ("played_again", command(5, &json!({ "name": "poll", "number": "8" }))),
    ]
}

fn application(bytes: usize) -> Json {
    let arguments = "x".repeat(bytes);
    json!({ "application": "beep", "arguments": arguments, "name": "application", "number": "7" })
}

fn command(seq: u64, command: &Json) -> Vec<u8> {
    let fields = json!({
        "command": command, "device": DEVICE, "expires": "2026-11-20T09:35:00Z", "seq": seq,
    });
    part_of("command", "director", &fields)
}

fn metadata() -> Seeds {
    let role = json!({ "keyids": ["aa"], "name": "a", "paths": ["a/*"], "terminating": true, "threshold": 1 });
    let prefixes = json!({ "keyids": ["aa"], "name": "b", "path_hash_prefixes": ["0a"], "terminating": false, "threshold": 1 });
    let key = json!({ "keytype": "ed25519", "scheme": "ed25519", "keyval": { "public": "5866666666666666666666666666666666666666666666666666666666666666" } });
    let delegations = json!({ "keys": { "aa": key }, "roles": [role, prefixes] });
    let targets = json!({ "delegations": delegations, "targets": { "a/b": target(&json!({})) } });
    let mut seeds = director(Some(target(&json!({ "device": DEVICE }))));
    let timestamp = json!({ "meta": { "snapshot.json": { "version": 1 } }, "version": 0 });
    seeds.push(("of_no_version.json", part_of("timestamp", "director", &timestamp)));
    seeds.push(("root.json", root("director")));
    seeds.push(("delegating.json", part_of("targets", "image/acme-th1", &targets)));
    seeds
}

fn json_texts() -> Seeds {
    vec![
        ("escapes", r#"{"b\u0063":"\ud83d\ude00\n\"\\\/","a":[1,-2,true,false,null,{}]}"#.into()),
        ("numbers", "[0,18446744073709551615,-9223372036854775808]".into()),
        ("nested", br#"{"a":{"b":[[[[{"c":{}}]]]]}}"#.to_vec()),
    ]
}

fn image() -> Seeds {
    let app = |builder: AppBuilder| {
        let image = builder.rodata([1; 64]).code([2; 64]).build().expect("an image");
        // Repaired, and cut into pieces of 16 bytes.
        [&[0x8f], &image[..]].concat()
    };
    vec![
        ("app", app(AppBuilder::new(Chip::Esp32c3).version("1.4.2").project("th1"))),
        ("bare", app(AppBuilder::new(Chip::Esp32).without_descriptor().without_hash())),
    ]
}

fn table() -> Vec<u8> {
    let partitions = [
        Partition::new("nvs", Purpose::Nvs, 0x9000, 0x4000),
        Partition::new("otadata", Purpose::OtaData, 0xd000, 0x2000),
        Partition::new("ota_0", Purpose::Ota(0), 0x1_0000, 0x1f_0000),
        Partition::new("ota_1", Purpose::Ota(1), 0x20_0000, 0x1f_0000),
    ];
    partition::write(&partitions).expect("a table")[..32 * 5].to_vec()
}

/// Two slots and a factory image; numbers with their right CRC.
fn otadata() -> Seeds {
    let record = |seq: u32, state: u32| {
        let words = [&seq.to_le_bytes()[..], &[0xff; 20], &state.to_le_bytes(), &[0; 4]];
        words.concat()
    };
    let both = |first: Vec<u8>, second: Vec<u8>| [&[0xc2, 0x10][..], &first, &second].concat();
    vec![
        ("confirmed", both(record(1, 2), record(2, 2))),
        ("trial", both(record(1, 2), record(2, 1))),
        ("blank", both(vec![0xff; 32], vec![0xff; 32])),
    ]
}

/// Connect, subscribe, publish, and end, in both versions of MQTT.
fn mqtt() -> Seeds {
    let text =
        |text: &str| [&[0, u8::try_from(text.len()).expect("short")], text.as_bytes()].concat();
    let packet = |header: u8, body: &[u8]| {
        [&[header, u8::try_from(body.len()).expect("short")], body].concat()
    };
    let session = |level: u8, none: &[u8]| {
        let connect = [&text("MQTT")[..], &[level, 2, 0, 60], none, &text("d-1")].concat();
        let subscribe = [&[0, 1][..], none, &text("waxwing/v1/d-1/command"), &[1]].concat();
        let publish = [&text("waxwing/v1/d-1/telemetry")[..], &[0, 2], none, b"{}"].concat();
        let packets = [packet(0x10, &connect), packet(0x82, &subscribe), packet(0x32, &publish)];
        [packets.concat(), vec![0xc0, 0, 0xe0, 0]].concat()
    };
    vec![("v3", session(4, &[])), ("v5", session(5, &[0]))]
}

/// A block of this version; its hash and its CRC are made by the target.
fn block(version: u8) -> Vec<u8> {
    let mut block = vec![0; 1216];
    block[..2].copy_from_slice(&[0xe7, version]);
    if version == 3 {
        block[36] = 2;
    }
    block
}

/// Records of the journal, whole and as bodies, in the phases that a boot has to judge.
fn journal() -> Seeds {
    let page = include_bytes!("../../device-agent/core/src/journal/golden/version_1.bin");
    let later = include_bytes!("../../device-agent/core/src/journal/golden/later.bin");
    let put_off = include_bytes!("../../device-agent/core/src/journal/golden/put_off.bin");
    let body = |how: u8| [&[how], &page[10..page.len() - 4]].concat();
    vec![
        ("blank", vec![0xff; 64]),
        ("later", later.to_vec()),
        ("on_trial", body(0b0000_0101)),
        ("page", page.to_vec()),
        ("put_off", put_off.to_vec()),
        ("rolled_back", body(0b0101_0110)),
    ]
}
