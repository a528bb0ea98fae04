//! DHCP as far as one device needs it (RFC 2131): every question gets the same address.

use smoltcp::socket::udp;
use smoltcp::wire::{DhcpMessageType, DhcpPacket, DhcpRepr, IpEndpoint, Ipv4Address};

use super::{DEVICE, ROUTER};

/// Where servers listen.
pub(super) const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
const LEASE_SECONDS: u32 = 24 * 60 * 60;

/// Answers what has come.
pub(super) fn serve(socket: &mut udp::Socket<'_>) {
    while let Ok((bytes, _)) = socket.recv() {
        let bytes = bytes.to_vec();
        if let Some(answer) = answer(&bytes) {
            let to = IpEndpoint::new(Ipv4Address::BROADCAST.into(), CLIENT_PORT);
            super::reply(socket, &answer, to);
        }
    }
}

fn answer(question: &[u8]) -> Option<Vec<u8>> {
    let packet = DhcpPacket::new_checked(question).ok()?;
    let question = DhcpRepr::parse(&packet).ok()?;
    let answers = [
        (DhcpMessageType::Discover, DhcpMessageType::Offer),
        (DhcpMessageType::Request, DhcpMessageType::Ack),
    ];
    let (_, message_type) =
        answers.into_iter().find(|(asked, _)| *asked == question.message_type)?;
    let answer = DhcpRepr {
        message_type,
        your_ip: DEVICE,
        server_ip: ROUTER,
        server_identifier: Some(ROUTER),
        router: Some(ROUTER),
        subnet_mask: Some(Ipv4Address::new(255, 255, 255, 0)),
        dns_servers: Some([ROUTER].into_iter().collect()),
        lease_duration: Some(LEASE_SECONDS),
        requested_ip: None,
        client_identifier: None,
        parameter_request_list: None,
        max_size: None,
        ..question
    };
    let mut bytes = vec![0; answer.buffer_len()];
    answer.emit(&mut DhcpPacket::new_unchecked(&mut bytes)).ok()?;
    Some(bytes)
}
