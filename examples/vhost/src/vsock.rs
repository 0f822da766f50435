// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The packets: `struct virtio_vsock_hdr`, and 8 bytes of payload (VIRTIO 1.3, 5.10.6).

/// Bytes of a header. The payload follows it.
pub const HEADER: u64 = 44;
/// Bytes of the payload of a packet that has one: its number.
pub const PAYLOAD: u32 = 8;
/// Bytes of a header with its payload.
pub const PACKET: u64 = HEADER + PAYLOAD as u64;

/// The offset of the payload's length in a header.
pub const LENGTH: u64 = 24;
/// The offset of the operation.
pub const OPERATION: u64 = 30;
/// The offset of the count of received bytes, which lets the peer send more.
pub const FORWARDED: u64 = 40;

/// Asks for a connection.
pub const REQUEST: u16 = 1;
/// Accepts a connection.
pub const RESPONSE: u16 = 2;
/// Refuses a connection, or ends it.
pub const RESET: u16 = 3;
/// Carries payload.
pub const READ_WRITE: u16 = 5;

/// A connection of streams, the only type here.
const STREAM: u16 = 1;
/// How many bytes of payload a receiver has room for.
const ROOM: u32 = 1 << 16;

/// Both ends of a connection: context identifier and port.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// The guest's end.
    pub guest: (u64, u32),
    /// The host's end.
    pub host: (u64, u32),
}

/// A header with a payload, in the order of the fields in memory.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Context identifier and port of the sender.
    pub source: (u64, u32),
    /// Context identifier and port of the receiver.
    pub destination: (u64, u32),
    /// How many bytes of the payload are valid.
    pub length: u32,
    /// One of the operations above.
    pub operation: u16,
    /// The payload.
    pub payload: [u8; PAYLOAD as usize],
}

impl Packet {
    /// The guest's packet that requests a connection.
    #[must_use]
    pub fn request(addresses: &Addresses) -> Self {
        Self {
            source: addresses.guest,
            destination: addresses.host,
            operation: REQUEST,
            ..Self::default()
        }
    }

    /// What an echo sends back; `None` for a packet that needs no reply.
    #[must_use]
    pub fn echo(&self) -> Option<Self> {
        let operation = match self.operation {
            REQUEST => RESPONSE,
            READ_WRITE => READ_WRITE,
            _ => return None,
        };
        Some(Self {
            source: self.destination,
            destination: self.source,
            operation,
            ..*self
        })
    }

    /// Reads a packet.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; PACKET as usize]) -> Self {
        let u32_at = |offset| u32::from_le_bytes(field(bytes, offset));
        let u64_at = |offset| u64::from_le_bytes(field(bytes, offset));
        Self {
            source: (u64_at(0), u32_at(16)),
            destination: (u64_at(8), u32_at(20)),
            length: u32_at(LENGTH),
            operation: u16::from_le_bytes(field(bytes, OPERATION)),
            payload: field(bytes, HEADER),
        }
    }

    /// Writes a packet.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; PACKET as usize] {
        let ((source, from), (destination, to)) = (self.source, self.destination);
        let fields: [&[u8]; 11] = [
            &source.to_le_bytes(),
            &destination.to_le_bytes(),
            &from.to_le_bytes(),
            &to.to_le_bytes(),
            &self.length.to_le_bytes(),
            &STREAM.to_le_bytes(),
            &self.operation.to_le_bytes(),
            &[0; 4], // flags
            &ROOM.to_le_bytes(),
            &[0; 4], // bytes received
            &self.payload,
        ];
        let mut bytes = [0; PACKET as usize];
        for (to, from) in bytes.iter_mut().zip(fields.concat()) {
            *to = from;
        }
        bytes
    }
}

/// The `N` bytes at an offset of a packet, which must be inside of it.
fn field<const N: usize>(bytes: &[u8; PACKET as usize], offset: u64) -> [u8; N] {
    let mut field = [0; N];
    for (to, from) in field.iter_mut().zip(bytes.iter().skip(offset as usize)) {
        *to = *from;
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_where_the_standard_has_them() {
        let packet = Packet {
            source: (3, 0x1111),
            destination: (2, 0x2222),
            length: 8,
            operation: READ_WRITE,
            payload: [7, 0, 0, 0, 0, 0, 0, 9],
        };
        let bytes = packet.to_bytes();
        assert_eq!((bytes[0], bytes[8]), (3, 2));
        assert_eq!((bytes[16], bytes[20]), (0x11, 0x22));
        assert_eq!((bytes[LENGTH as usize], bytes[28]), (8, 1));
        assert_eq!(bytes[OPERATION as usize], 5);
        assert_eq!(bytes[36..40], [0, 0, 1, 0]);
        assert_eq!(bytes[HEADER as usize..], packet.payload);
        assert_eq!(Packet::from_bytes(&bytes), packet);
    }

    #[test]
    fn an_echo_goes_back() {
        let addresses = Addresses {
            guest: (3, 1024),
            host: (2, 1234),
        };
        let request = Packet::request(&addresses);
        let response = request.echo().map(|echo| (echo.source, echo.operation));
        assert_eq!(response, Some((addresses.host, RESPONSE)));
        let reset = Packet {
            operation: RESET,
            ..request
        };
        assert_eq!(reset.echo(), None);
    }
}
