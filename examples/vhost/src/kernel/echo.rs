// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The process at the other end of the connection: it sends back what it receives.

use std::error::Error;
use std::io::{self, Read, Write};

use crate::vsock::PAYLOAD;
use vsock::{VMADDR_CID_ANY, VsockListener};

/// VMADDR_PORT_ANY: any port that is free.
const ANY_PORT: u32 = u32::MAX;

/// Prints its port, serves one connection to its end, and prints how many packets there were, or
/// fails if one of them was not the next.
///
/// # Errors
///
/// Those of the socket, and that one.
pub fn run() -> Result<(), Box<dyn Error>> {
    let listener = VsockListener::bind_with_cid_port(VMADDR_CID_ANY, ANY_PORT)?;
    let mut out = io::stdout();
    writeln!(out, "{}", listener.local_addr()?.port())?;
    out.flush()?;
    let (mut stream, _) = listener.accept()?;
    let mut packets = 0_u64;
    let mut payload = [0; PAYLOAD as usize];
    loop {
        match stream.read_exact(&mut payload) {
            Ok(()) => {}
            Err(error) if is_the_end(error.kind()) => break,
            Err(error) => return Err(error.into()),
        }
        packets += 1;
        let number = u64::from_le_bytes(payload);
        if number != packets {
            return Err(format!("packet {number} came where {packets} was due").into());
        }
        stream.write_all(&payload)?;
    }
    writeln!(out, "{packets}")?;
    Ok(())
}

/// The guest does not end its connection: that of a device which is closed is reset.
fn is_the_end(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
    )
}
