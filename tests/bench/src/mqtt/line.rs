//! A device at an MQTT endpoint, with as little work as there can be: MQTT 5, written and read by hand.
//!
//! Not here: what it says ([`super::said`]).

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// First bytes of packets (MQTT 5, 2.1.2).
const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const PUBLISH_ONCE_ACKNOWLEDGED: u8 = 0x32;
const PUBACK: u8 = 0x40;
const DISCONNECT: u8 = 0xe0;

/// Clean start, and nothing else.
const CLEAN: u8 = 0x02;
/// Longer than any measurement.
const KEEP_ALIVE_S: u16 = 1200;
/// Reason codes from which on something is refused (MQTT 5, 2.4).
const FAILURE: u8 = 0x80;
/// A byte of a length holds so many bits (MQTT 5, 1.5.5).
const LENGTH_BITS: u32 = 7;
/// Longest answer that is read: acknowledgements have a few bytes, CONNACK some dozens.
const ANSWER_BYTES_MAX: usize = 1024;

/// A connection.
pub(super) struct Line {
    stream: TlsStream<TcpStream>,
}

impl Line {
    /// Connects: TCP, TLS with a certificate on either side, CONNECT, CONNACK.
    pub(super) async fn open(
        connector: &TlsConnector,
        server: SocketAddr,
        device: &str,
    ) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        let mut line = Self { stream: connector.connect(name, stream).await? };
        line.stream.write_all(&connect(device)?).await?;
        let (header, body) = line.read().await?;
        let code = body.get(1).copied().context("a short CONNACK")?;
        ensure!(header == CONNACK && code == 0, "refused: {header:#x} {code:#x}");
        Ok(line)
    }

    /// Publishes packets made by [`publish`] with the ids 1, 2, 3 and so on, and waits until all are
    /// acknowledged.
    pub(super) async fn publish(&mut self, packets: &[u8], count: usize) -> anyhow::Result<()> {
        self.stream.write_all(packets).await?;
        for _ in 0..count {
            let (header, body) = self.read().await?;
            // Without a reason code it is success (MQTT 5, 3.4.2.1).
            let code = body.get(2).copied().unwrap_or(0);
            ensure!(header == PUBACK && code < FAILURE, "refused: {header:#x} {code:#x}");
        }
        Ok(())
    }

    /// Ends the connection in order.
    pub(super) async fn close(mut self) -> anyhow::Result<()> {
        self.stream.write_all(&[DISCONNECT, 0]).await?;
        Ok(self.stream.shutdown().await?)
    }

    async fn read(&mut self) -> anyhow::Result<(u8, Vec<u8>)> {
        let header = self.stream.read_u8().await?;
        let mut length = 0;
        for place in 0..2 {
            let byte = self.stream.read_u8().await?;
            length |= usize::from(byte & 0x7f) << (LENGTH_BITS * place);
            if byte < 0x80 {
                break;
            }
        }
        ensure!(length <= ANSWER_BYTES_MAX, "an answer of {length} bytes");
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        Ok((header, body))
    }
}

/// Writes a message with `QoS` 1.
pub(super) fn publish(topic: &str, id: u16, payload: &str) -> anyhow::Result<Vec<u8>> {
    let mut body = text(topic)?;
    body.extend(id.to_be_bytes());
    // No properties.
    body.push(0);
    body.extend(payload.as_bytes());
    packet(PUBLISH_ONCE_ACKNOWLEDGED, &body)
}

fn connect(device: &str) -> anyhow::Result<Vec<u8>> {
    let mut body = text("MQTT")?;
    body.extend([5, CLEAN]);
    body.extend(KEEP_ALIVE_S.to_be_bytes());
    body.push(0);
    body.extend(text(device)?);
    packet(CONNECT, &body)
}

fn text(text: &str) -> anyhow::Result<Vec<u8>> {
    let mut bytes = u16::try_from(text.len())?.to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    Ok(bytes)
}

fn packet(header: u8, body: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut packet = vec![header];
    let mut rest = body.len();
    loop {
        let bits = u8::try_from(rest & 0x7f)?;
        rest >>= LENGTH_BITS;
        packet.push(if rest == 0 { bits } else { bits | 0x80 });
        if rest == 0 {
            break;
        }
    }
    packet.extend(body);
    Ok(packet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_those_of_the_specification() {
        // Topic `a/b`, id 10, no properties (MQTT 5, 3.3.2).
        let publish = publish("a/b", 10, "x").unwrap();
        assert_eq!(publish, [0x32, 9, 0, 3, b'a', b'/', b'b', 0, 10, 0, b'x']);
        let connect = connect("d-1").unwrap();
        assert_eq!(
            connect,
            [&[0x10, 16, 0, 4][..], b"MQTT", &[5, 2, 4, 0xb0, 0, 0, 3], b"d-1"].concat()
        );
        let long = packet(PUBLISH_ONCE_ACKNOWLEDGED, &[0; 200]).unwrap();
        assert_eq!(long.get(..3), Some(&[0x32, 0xc8, 0x01][..]));
    }
}
