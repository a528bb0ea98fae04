//! Of what parts a program for the chip is made, by the symbol table of its ELF file.
//!
//! A function belongs to the crate that its name begins with; where the compiler put one inside
//! another, both count for the outer one. What has no name, texts and tables, is a part of its own.

use std::collections::{BTreeMap, BTreeSet};

use super::elf::{header, number, sections};

/// What is in flash: read-only data, code, and code and data that are copied to memory.
const IN_FLASH: [std::ops::Range<u64>; 4] = [
    0x3c00_0000..0x3d00_0000,
    0x4200_0000..0x4300_0000,
    0x4037_c000..0x403e_0000,
    0x3fc8_0000..0x3fce_0000,
];
/// A symbol table (`SHT_SYMTAB`).
const SYMBOLS: u64 = 2;
/// A section without content in the file (`SHT_NOBITS`).
const EMPTY: u64 = 8;
/// Length of a symbol.
const SYMBOL_BYTES: usize = 16;

/// The parts of the firmware, and the crates they are made of.
const PARTS: [(&str, &[&str]); 8] = [
    ("agent", &["semver", "waxwing_agent", "waxwing_wire"]),
    ("application", &["bare", "portable_atomic", "waxwing_esp32"]),
    ("ed25519", &["curve25519_dalek", "ed25519", "ed25519_dalek", "signature"]),
    (
        "flash",
        &["esp_storage", "md5", "sequential_storage", "waxwing_agent_flash", "waxwing_esp_image"],
    ),
    ("mqtt", &[MQTT]),
    (
        "p256",
        &[
            "crypto_bigint",
            "ecdsa",
            "elliptic_curve",
            "ff",
            "group",
            "p256",
            "primeorder",
            "rfc6979",
            "sec1",
        ],
    ),
    (
        "tls, http, est",
        &[
            "aead",
            "aes",
            "aes_gcm",
            "base64ct",
            "cipher",
            "const_oid",
            "ctr",
            "der",
            "digest",
            "embedded_tls",
            "generic_array",
            "ghash",
            "hkdf",
            "hmac",
            "httparse",
            "polyval",
            "rustls_pki_types",
            "sha2",
            "spki",
            "untrusted",
            "waxwing_agent_net",
            "webpki",
        ],
    ),
    ("tuf", &["waxwing_tuf"]),
];
/// A module that is a part of its own.
const MQTT: &str = "waxwing_agent_net::mqtt";
/// `core`, `alloc` and everything that the product has without an agent.
const REST: &str = "rest";

/// Bytes of flash by part.
pub(super) type Parts = BTreeMap<&'static str, u64>;

/// Reads the symbol table.
pub(super) fn of(elf: &[u8]) -> Option<Parts> {
    let mut parts = Parts::new();
    let mut seen = BTreeSet::new();
    for symbol in symbols(elf)? {
        let is_in_flash = IN_FLASH.iter().any(|range| range.contains(&symbol.address));
        if symbol.bytes == 0 || !is_in_flash || !seen.insert(symbol.address) {
            continue;
        }
        *parts.entry(part_of(symbol.name)).or_default() += symbol.bytes;
    }
    Some(parts)
}

/// Returns what `with` has more than `without`, all of which is `bytes`.
pub(super) fn difference(with: &Parts, without: &Parts, bytes: u64) -> Parts {
    let more = |(part, bytes): (&&'static str, &u64)| {
        (*part, bytes.saturating_sub(without.get(part).copied().unwrap_or(0)))
    };
    let mut parts: Parts = with.iter().map(more).filter(|(part, _)| *part != REST).collect();
    let named: u64 = parts.values().sum();
    parts.insert("core, texts, tables", bytes.saturating_sub(named));
    parts
}

struct Symbol<'e> {
    name: &'e str,
    address: u64,
    bytes: u64,
}

fn symbols(elf: &[u8]) -> Option<Vec<Symbol<'_>>> {
    let table = sections(elf)?.find(|header| number(header, 4, 4) == Some(SYMBOLS))?;
    let names = header(elf, usize::try_from(number(table, 24, 4)?).ok()?)?;
    let (names, entries) = (content(elf, names)?, content(elf, table)?);
    let is_content = |index: u64| {
        let section = usize::try_from(index).ok().and_then(|index| header(elf, index));
        section.is_some_and(|section| number(section, 4, 4) != Some(EMPTY))
    };
    let symbol = |entry: &[u8]| {
        let name = names.get(usize::try_from(number(entry, 0, 4)?).ok()?..)?;
        let name = std::str::from_utf8(name.split(|byte| *byte == 0).next()?).ok()?;
        let (address, bytes) = (number(entry, 4, 4)?, number(entry, 8, 4)?);
        is_content(number(entry, 14, 2)?).then_some(Symbol { name, address, bytes })
    };
    Some(entries.chunks_exact(SYMBOL_BYTES).filter_map(symbol).collect())
}

fn content<'e>(elf: &'e [u8], header: &[u8]) -> Option<&'e [u8]> {
    let at = usize::try_from(number(header, 16, 4)?).ok()?;
    elf.get(at..at.checked_add(usize::try_from(number(header, 20, 4)?).ok()?)?)
}

fn part_of(symbol: &str) -> &'static str {
    let Some((name, rest)) = crate_of(symbol) else { return REST };
    let name = if name == "waxwing_agent_net" && rest.starts_with("4mqtt") { MQTT } else { name };
    let part = PARTS.iter().find(|(_, crates)| crates.contains(&name));
    part.map_or(REST, |(part, _)| part)
}

/// Returns the crate that is named first in a mangled name (`v0`), and what follows: a crate is `C`,
/// `s…_` to tell it from others of its name, the length of the name, the name.
fn crate_of(symbol: &str) -> Option<(&str, &str)> {
    let mangled = symbol.strip_prefix("_R")?;
    mangled.match_indices("Cs").find_map(|(at, _)| {
        let (number, rest) = mangled.get(at + 2..)?.split_once('_')?;
        let digits = rest.find(|character: char| !character.is_ascii_digit())?;
        let length = rest.get(..digits)?.parse().ok()?;
        let name = rest.get(digits..)?;
        let is_crate = number.bytes().all(|byte| byte.is_ascii_alphanumeric());
        is_crate.then(|| name.split_at_checked(length)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_belongs_to_the_crate_its_name_begins_with() {
        let check = |symbol, part| assert_eq!(part_of(symbol), part, "{symbol}");
        check("_RNCNvNtNtCsaa_17waxwing_agent_net4mqtt7session3run0Csbb_13waxwing_esp32", "mqtt");
        check("_RNvNtCsaa_17waxwing_agent_net3tls4open", "tls, http, est");
        check("_RINvMNtCs1_11waxwing_tuf6verifyNtB3_4File5parse", "tuf");
        check("_RNvCs1_4core5panic", REST);
        check("memcpy", REST);
        check("_RNvCs1_99short", REST);
    }

    #[test]
    fn what_a_program_has_without_an_agent_is_no_part_of_it() {
        let with = Parts::from([("agent", 100), ("application", 50), (REST, 1_000)]);
        let without = Parts::from([("application", 20), (REST, 900)]);
        let parts = difference(&with, &without, 200);
        let expected = [("agent", 100), ("application", 30), ("core, texts, tables", 70)];
        assert_eq!(parts, Parts::from(expected));
    }
}
