//! Which machines messages go to: those of the public Internet, and those that the configuration names.
//!
//! Whoever may add a webhook could otherwise have the server ask machines that only it can reach: itself,
//! its neighbours, the metadata service of a cloud. The address is judged that the connection is made
//! to, so that a name which means something else a moment later is no way around it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::{Host, Url};

/// What is not public in IPv4: the IANA registry of special-purpose addresses (RFC 6890), and
/// multicast (RFC 5771).
const SPECIAL_V4: [(Ipv4Addr, u8); 15] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// All that is public in IPv6 (RFC 4291, section 2.4).
const UNICAST_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// What is not, within that: protocols of the IETF with Teredo, documentation, 6to4 (RFC 6890,
/// RFC 9637), by which addresses of IPv4 would be reached.
const SPECIAL_V6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Some addresses that begin alike, such as `10.1.0.0/16`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// The text is no network.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a network is an address and a number of bits, such as 10.1.0.0/16")]
pub struct NoNetwork;

/// Which machines messages go to.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    allowed: Vec<Network>,
}

impl Reach {
    /// Adds networks to the public Internet.
    pub fn new(allowed: &[Network]) -> Self {
        Self { allowed: allowed.to_vec() }
    }

    /// Tells whether messages go to this address.
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || self.allowed.iter().any(|network| network.contains(address))
    }

    /// Tells whether messages go to a URL, as far as it says so itself: of a name, each address is
    /// looked at when it is known.
    pub fn allows_url(&self, url: &Url) -> bool {
        match url.host() {
            Some(Host::Ipv4(address)) => self.allows(address.into()),
            Some(Host::Ipv6(address)) => self.allows(address.into()),
            Some(Host::Domain(_)) => true,
            None => false,
        }
    }
}

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => within_v4(address, (network, self.bits)),
            (IpAddr::V6(network), IpAddr::V6(address)) => within_v6(address, (network, self.bits)),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !SPECIAL_V4.iter().any(|network| within_v4(address, *network)),
        IpAddr::V6(address) => {
            within_v6(address, UNICAST_V6)
                && !SPECIAL_V6.iter().any(|network| within_v6(address, *network))
        }
    }
}

fn within_v4(address: Ipv4Addr, (network, bits): (Ipv4Addr, u8)) -> bool {
    let difference = address.to_bits() ^ network.to_bits();
    difference.leading_zeros() >= u32::from(bits)
}

fn within_v6(address: Ipv6Addr, (network, bits): (Ipv6Addr, u8)) -> bool {
    let difference = address.to_bits() ^ network.to_bits();
    difference.leading_zeros() >= u32::from(bits)
}

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let (address, bits) = text.split_once('/').ok_or(NoNetwork)?;
        let address: IpAddr = address.parse().map_err(|_| NoNetwork)?;
        let bits: u8 = bits.parse().map_err(|_| NoNetwork)?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        if bits > bits_max { Err(NoNetwork) } else { Ok(Self { address, bits }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_machines_of_the_public_internet_are_asked() {
        let reach = Reach::default();
        for text in [
            "0.0.0.0",
            "10.255.255.255",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.31.0.1",
            "192.0.0.8",
            "192.168.1.1",
            "198.19.255.255",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a00:1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
        ] {
            assert!(!reach.allows(text.parse().unwrap()), "{text}");
        }
        for text in ["1.1.1.1", "100.63.255.255", "172.32.0.1", "2606:4700::1111", "2a00::1"] {
            assert!(reach.allows(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn the_spellings_of_an_address_that_browsers_know_are_no_way_around() {
        let reach = Reach::default();
        for host in ["127.1", "0x7f.1", "2130706433", "0177.0.0.1", "[::1]", "[::ffff:7f00:1]"] {
            let url = Url::parse(&format!("https://{host}/")).unwrap();
            assert!(!reach.allows_url(&url), "{host}");
        }
        assert!(reach.allows_url(&Url::parse("https://h.example/").unwrap()));
    }

    #[test]
    fn the_configuration_may_name_more_networks() {
        let networks = ["10.1.0.0/16", "fd00::/8"].map(|text| text.parse().unwrap());
        let reach = Reach::new(&networks);
        for (text, allowed) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("10.2.0.1", false),
            ("fd12::1", true),
            ("fc12::1", false),
        ] {
            assert_eq!(reach.allows(text.parse().unwrap()), allowed, "{text}");
        }
        for text in ["10.1.0.0", "10.1.0.0/33", "10.1/16", "fd00::/129", "/8", "10.1.0.0/-1"] {
            assert_eq!(text.parse::<Network>(), Err(NoNetwork), "{text}");
        }
        assert_eq!(networks[0].to_string(), "10.1.0.0/16");
    }
}
