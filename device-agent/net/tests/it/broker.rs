//! Messages over MQTT, with brokers that answer in every way there is.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use waxwing_agent::network::{Clock as _, Message, Messages as _};
use waxwing_agent::policy::Policy;
use waxwing_agent_net::Address;
use waxwing_agent_net::mqtt::{Link, Mailbox, mailbox};
use waxwing_wire::topic::Kind;
use waxwing_wire::{DeviceId, MessageId};

use crate::network::Host;
use crate::peer::{Authority, config, listen};

const CONNACK: [u8; 5] = [0x20, 3, 0, 0, 0];
const HUGE: [u8; 5] = [0x30, 0xff, 0xff, 0xff, 0x7f];
const POLICY: Policy = Policy {
    back_off_min: Duration::from_millis(1),
    back_off_max: Duration::from_millis(2),
    ..Policy::DEVICE
};

/// A connection that sends byte by byte, so that the other end sees every half of everything.
struct Trickle {
    stream: TcpStream,
    rests: bool,
}

impl AsyncRead for Trickle {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, bytes)
    }
}

impl AsyncWrite for Trickle {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.rests = !self.rests;
        if self.rests {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let piece = &bytes[..bytes.len().min(7)];
        Pin::new(&mut self.stream).poll_write(context, piece)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

type Stream = TlsStream<Trickle>;

/// A packet: its first byte and what is behind its length.
async fn packet(stream: &mut Stream) -> Option<(u8, Vec<u8>)> {
    let kind = stream.read_u8().await.ok()?;
    let (mut length, mut shift) = (0, 0);
    loop {
        let byte = stream.read_u8().await.ok()?;
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((kind, body))
}

async fn send(stream: &mut Stream, bytes: &[u8]) -> Option<()> {
    stream.write_all(bytes).await.ok()?;
    stream.flush().await.ok()
}

/// Takes a device in, as a broker does.
async fn hello(stream: &mut Stream) -> Option<()> {
    /// Granted, at least once (MQTT 5, 3.9.3).
    const GRANTED: u8 = 1;
    hello_but(stream, GRANTED).await
}

/// Takes a device in, and answers its subscription with this reason.
async fn hello_but(stream: &mut Stream, reason: u8) -> Option<()> {
    packet(stream).await?;
    send(stream, &CONNACK).await?;
    let (_, subscribe) = packet(stream).await?;
    send(stream, &[0x90, 4, subscribe[0], subscribe[1], 0, reason]).await
}

/// A broker that does this with each connection.
async fn broker<F: Future<Output = Option<()>> + Send>(
    own: &Authority,
    mut talk: impl FnMut(Stream, usize) -> F + Send + 'static,
) -> Address {
    let (listener, address) = listen().await;
    let acceptor = TlsAcceptor::from(Arc::new(config(own.server(|_| ()), None)));
    tokio::spawn(async move {
        for count in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            if let Ok(stream) = acceptor.accept(Trickle { stream, rests: false }).await {
                talk(stream, count).await;
            }
        }
    });
    address
}

fn ends(own: &Authority) -> (Rc<Host>, Mailbox<Host>, Link<Host>) {
    let network = Host::new();
    let device: DeviceId = "d-1".parse().unwrap();
    let (mailbox, link) = mailbox(&network, &device, &Rc::new(RefCell::new(own.client())));
    (network, mailbox, link)
}

/// The next message within a real minute.
async fn next(mailbox: &mut Mailbox<Host>, network: &Host) -> Message {
    mailbox.next(network.now() + Duration::from_mins(1)).await
}

#[tokio::test]
async fn nothing_is_lost_when_messages_cross_in_pieces() {
    let own = Authority::new();
    let address = broker(&own, |mut stream, _| async move {
        hello(&mut stream).await?;
        for number in 0..20_u8 {
            // Each report is answered with a command and then its acknowledgement, in one breath.
            let (kind, body) = packet(&mut stream).await?;
            assert_eq!(kind & 0xf0, 0x30);
            let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
            let command = [&[0x30, 6, 0, 1, b't', 0, b'c', number][..]].concat();
            let acknowledged = [0x40, 2, body[topic + 2], body[topic + 3]];
            send(&mut stream, &[&command[..], &acknowledged].concat()).await?;
        }
        packet(&mut stream).await.map(drop)
    })
    .await;
    let (network, mut mailbox, link) = ends(&own);
    let keeping_up = link.keep_up(&address, &POLICY, 1);
    let talking = async {
        assert_eq!(next(&mut mailbox, &network).await, Message::Connected);
        assert_eq!(mailbox.connection(), Some(1));
        let (mut sent, mut commands, mut acknowledged) = (0, BTreeSet::new(), BTreeSet::new());
        while commands.len() < 20 || acknowledged.len() < 20 {
            while sent < 20 {
                let id = MessageId::parse(&format!("m-{sent}")).unwrap();
                if !mailbox.publish(Kind::Report, &id, "x".repeat(500 + sent)) {
                    break;
                }
                sent += 1;
            }
            match next(&mut mailbox, &network).await {
                Message::Command(bytes) => assert!(commands.insert(bytes), "twice"),
                Message::Acknowledged(id) => assert!(acknowledged.insert(id), "twice"),
                Message::Refused(id) => panic!("{} was taken", id.as_str()),
                Message::Connected | Message::TimeUp => panic!("the connection broke"),
            }
        }
    };
    tokio::select! {
        never = keeping_up => match never {},
        () = talking => {}
    }
}

/// A command that wants to be acknowledged, on the longest topic there is: 128 bytes at least.
fn command(body: &[u8]) -> Vec<u8> {
    let topic = format!("devices/{}/command", "d".repeat(64));
    let length = u8::try_from(topic.len()).unwrap();
    let behind = [&[0, length][..], topic.as_bytes(), &[0, 7, 0], body].concat();
    let low = u8::try_from(behind.len() % 128).unwrap() | 0x80;
    let high = u8::try_from(behind.len() / 128).unwrap();
    [&[0x32, low, high][..], &behind].concat()
}

#[tokio::test]
async fn of_a_flood_of_the_longest_commands_few_wait_and_those_that_follow_are_heard() {
    let own = Authority::new();
    let (flooded, mut floods) = mpsc::unbounded_channel();
    let address = broker(&own, move |mut stream, _| {
        let flooded = flooded.clone();
        async move {
            hello(&mut stream).await?;
            for number in 0..40 {
                send(&mut stream, &command(&[number; 2048])).await?;
                assert_eq!(packet(&mut stream).await?.0, 0x40);
            }
            flooded.send(()).ok()?;
            let (_, body) = packet(&mut stream).await?;
            let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
            send(&mut stream, &[0x40, 2, body[topic + 2], body[topic + 3]]).await?;
            send(&mut stream, &command(&[b'l'; 64])).await?;
            while stream.read_u8().await.is_ok() {}
            None
        }
    })
    .await;
    let (network, mut mailbox, link) = ends(&own);
    let keeping_up = link.keep_up(&address, &POLICY, 1);
    let talking = async {
        floods.recv().await.unwrap();
        assert_eq!(next(&mut mailbox, &network).await, Message::Connected);
        for number in 0..4 {
            assert_eq!(next(&mut mailbox, &network).await, Message::Command(vec![number; 2048]));
        }
        let id = MessageId::parse("m-1").unwrap();
        assert!(mailbox.publish(Kind::Report, &id, "x".into()));
        assert_eq!(next(&mut mailbox, &network).await, Message::Acknowledged(id));
        assert_eq!(next(&mut mailbox, &network).await, Message::Command(vec![b'l'; 64]));
    };
    tokio::select! {
        never = keeping_up => match never {},
        () = talking => {}
    }
}

#[tokio::test]
async fn a_message_that_the_broker_refuses_comes_back_by_its_name() {
    /// Quota exceeded (MQTT 5, 3.4.2.1).
    const QUOTA: u8 = 0x97;
    let own = Authority::new();
    let address = broker(&own, |mut stream, _| async move {
        hello(&mut stream).await?;
        let (_, body) = packet(&mut stream).await?;
        let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
        send(&mut stream, &[0x40, 3, body[topic + 2], body[topic + 3], QUOTA]).await?;
        packet(&mut stream).await.map(drop)
    })
    .await;
    let (network, mut mailbox, link) = ends(&own);
    let keeping_up = link.keep_up(&address, &POLICY, 1);
    let talking = async {
        assert_eq!(next(&mut mailbox, &network).await, Message::Connected);
        let id = MessageId::parse("m-1").unwrap();
        assert!(mailbox.publish(Kind::Report, &id, "x".into()));
        assert_eq!(next(&mut mailbox, &network).await, Message::Refused(id));
    };
    tokio::select! {
        never = keeping_up => match never {},
        () = talking => {}
    }
}

#[tokio::test]
async fn a_broker_that_grants_no_commands_is_left_and_tried_again() {
    /// Not authorised, quota exceeded, unspecified (MQTT 5, 3.9.3).
    const REFUSALS: [u8; 3] = [0x87, 0x97, 0x80];
    let own = Authority::new();
    let address = broker(&own, |mut stream, count| async move {
        match REFUSALS.get(count) {
            Some(reason) => hello_but(&mut stream, *reason).await?,
            // Somebody else's subscription.
            None if count == REFUSALS.len() => {
                packet(&mut stream).await?;
                send(&mut stream, &CONNACK).await?;
                let (_, subscribe) = packet(&mut stream).await?;
                send(&mut stream, &[0x90, 4, subscribe[0], subscribe[1] + 1, 0, 1]).await?;
            }
            None => hello(&mut stream).await?,
        }
        while stream.read_u8().await.is_ok() {}
        None
    })
    .await;
    let (network, mut mailbox, link) = ends(&own);
    let keeping_up = link.keep_up(&address, &POLICY, 1);
    let talking = async {
        assert_eq!(next(&mut mailbox, &network).await, Message::Connected);
        assert_eq!(mailbox.connection(), Some(5), "the first four were none");
    };
    tokio::select! {
        never = keeping_up => match never {},
        () = talking => {}
    }
}

#[tokio::test]
async fn a_broker_that_promises_more_than_it_may_send_is_left_and_tried_again() {
    let own = Authority::new();
    let (left, mut lefts) = mpsc::unbounded_channel();
    let address = broker(&own, move |mut stream, count| {
        let left = left.clone();
        async move {
            match count {
                // In place of the answer to a greeting.
                0 => send(&mut stream, &HUGE).await?,
                1 => send(&mut stream, &[0xff; 64]).await?,
                2 => {
                    hello(&mut stream).await?;
                    send(&mut stream, &HUGE).await?;
                }
                // What only clients say.
                3 => {
                    hello(&mut stream).await?;
                    send(&mut stream, &[0xc0, 0]).await?;
                }
                // Longer than any command.
                4 => {
                    hello(&mut stream).await?;
                    send(&mut stream, &[0x30, 0x80, 0x20]).await?;
                }
                _ => {
                    hello(&mut stream).await?;
                    std::future::pending::<()>().await;
                }
            }
            while stream.read_u8().await.is_ok() {}
            left.send(count).ok()
        }
    })
    .await;
    let (network, mut mailbox, link) = ends(&own);
    let keeping_up = link.keep_up(&address, &POLICY, 1);
    let talking = async {
        while mailbox.connection() != Some(6) {
            next(&mut mailbox, &network).await;
        }
    };
    tokio::select! {
        never = keeping_up => match never {},
        () = talking => {}
    }
    for expected in 0..5 {
        assert_eq!(lefts.recv().await, Some(expected));
    }
}

/// A broker that takes little: one message at a time, and none beyond this length.
#[tokio::test]
async fn what_a_broker_takes_is_kept_to() {
    let own = Authority::new();
    let address = broker(&own, |mut stream, _| async move {
        packet(&mut stream).await?;
        send(&mut stream, b"\x20\x0b\0\0\x08\x21\0\x01\x27\0\0\0\x80").await?;
        let (_, subscribe) = packet(&mut stream).await?;
        send(&mut stream, &[0x90, 4, subscribe[0], subscribe[1], 0, 1]).await?;
        let (_, body) = packet(&mut stream).await?;
        let waiting = tokio::time::timeout(Duration::from_millis(50), stream.read_u8());
        assert!(waiting.await.is_err(), "a second message");
        let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
        send(&mut stream, &[0x40, 2, body[topic + 2], body[topic + 3]]).await?;
        packet(&mut stream).await.map(drop)
    })
    .await;
    let (network, mut mailbox, link) = ends(&own);
    let keeping_up = link.keep_up(&address, &POLICY, 1);
    let talking = async {
        assert_eq!(next(&mut mailbox, &network).await, Message::Connected);
        let ids = [1, 2].map(|number| MessageId::parse(&format!("m-{number}")).unwrap());
        for id in &ids {
            assert!(mailbox.publish(Kind::Report, id, "x".into()));
        }
        assert_eq!(next(&mut mailbox, &network).await, Message::Acknowledged(ids[0].clone()));
        assert_eq!(mailbox.connection(), Some(1));
    };
    tokio::select! {
        never = keeping_up => match never {},
        () = talking => {}
    }
}

#[tokio::test]
async fn a_broker_that_goes_silent_is_left() {
    let own = Authority::new();
    let (address, mut came) = {
        let (connected, came) = mpsc::unbounded_channel();
        let address = broker(&own, move |mut stream, count| {
            let connected = connected.clone();
            async move {
                hello(&mut stream).await?;
                connected.send(count).ok()?;
                // Pings go unanswered.
                while stream.read_u8().await.is_ok() {}
                None
            }
        })
        .await;
        (address, came)
    };
    let (network, mut mailbox, link) = ends(&own);
    let keeping_up = link.keep_up(&address, &POLICY, 1);
    let talking = async {
        assert_eq!(next(&mut mailbox, &network).await, Message::Connected);
        assert_eq!(came.recv().await, Some(0));
        tokio::time::pause();
        let silent_from = network.now();
        while mailbox.connection().is_some() {
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let silence = network.now().saturating_sub(silent_from);
        assert!((60..=120).contains(&silence.as_secs()), "{silence:?}");
        tokio::time::resume();
    };
    tokio::select! {
        never = keeping_up => match never {},
        () = talking => {}
    }
}
