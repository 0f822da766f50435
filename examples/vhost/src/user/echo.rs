// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The device: it sends every packet back, and keeps no state outside the rings.
//!
//! Each packet of the guest gets one reply, and is completed after that. So the used index of the
//! receive ring equals that of the transmit ring, or is one more. In the second case the last
//! packet has its reply, but the daemon was killed before it could complete the packet. The rings
//! alone show what is still to be done.

use std::io;
use std::num::Wrapping;
use std::ops::Deref;
use std::sync::atomic::Ordering;

use crate::ring::NO_INTERRUPT;
use crate::vsock::{PACKET, Packet};
use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

type Memory<'a> = &'a GuestMemoryMmap;

/// The two rings of a device.
pub(crate) struct Rings<'a> {
    pub(crate) memory: &'a GuestMemoryMmap,
    pub(crate) receive: &'a mut Queue,
    pub(crate) transmit: &'a mut Queue,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing, until the guest kicks.
    Wait,
    /// The guest has received a packet: call it, on the receive ring.
    CallReceive,
    /// A packet of the guest is done: call it, on the transmit ring.
    CallTransmit,
    /// The guest has turned this interrupt off: go on.
    Continue,
}

impl<'a> Rings<'a> {
    /// Takes one step. A device that is killed between two steps, or within one, has lost nothing.
    pub(crate) fn step(&mut self) -> io::Result<Step> {
        let answered = used_index(self.receive, self.memory)?;
        let completed = used_index(self.transmit, self.memory)?;
        let Some(packet) = self.transmit.pop_descriptor_chain(self.memory) else {
            return Ok(Step::Wait);
        };
        match (answered - completed).0 {
            0 => self.reply(packet),
            1 => {
                let head = packet.head_index();
                let added = self.transmit.add_used(self.memory, head, 0);
                added.map_err(io::Error::other)?;
                self.call(false)
            }
            difference => Err(io::Error::other(format!(
                "{difference} packets have a reply and are not completed"
            ))),
        }
    }

    /// Puts the reply into a buffer of the guest. The next step completes the packet.
    fn reply(&mut self, packet: DescriptorChain<Memory<'a>>) -> io::Result<Step> {
        self.transmit.go_to_previous_position();
        let Some(buffer) = self.buffer()? else {
            return Ok(Step::Wait);
        };
        let reply = read(packet, self.memory)?.echo();
        let reply = reply.ok_or_else(|| io::Error::other("a packet that needs no reply"))?;
        let head = buffer.head_index();
        let address = first(buffer, PACKET)?;
        let written = self.memory.write_slice(&reply.to_bytes(), address);
        written.map_err(io::Error::other)?;
        let added = self.receive.add_used(self.memory, head, PACKET as u32);
        added.map_err(io::Error::other)?;
        self.call(true)
    }

    /// A buffer to receive into. As long as there is one, the guest need not kick for those that it
    /// returns.
    fn buffer(&mut self) -> io::Result<Option<DescriptorChain<Memory<'a>>>> {
        let mut buffer = self.receive.pop_descriptor_chain(self.memory);
        if buffer.is_none() {
            let more = self.receive.enable_notification(self.memory);
            if !more.map_err(io::Error::other)? {
                return Ok(None);
            }
            // `None` again if the available index is wrong.
            buffer = self.receive.pop_descriptor_chain(self.memory);
        }
        if buffer.is_some() {
            let quiet = self.receive.disable_notification(self.memory);
            quiet.map_err(io::Error::other)?;
        }
        Ok(buffer)
    }

    /// Whether the guest wants an interrupt of a ring.
    fn call(&self, receives: bool) -> io::Result<Step> {
        let (queue, step) = match receives {
            true => (&*self.receive, Step::CallReceive),
            false => (&*self.transmit, Step::CallTransmit),
        };
        // The used index is written before the flags are read.
        std::sync::atomic::fence(Ordering::SeqCst);
        let address = GuestAddress(queue.avail_ring());
        let flags: u16 = self
            .memory
            .load(address, Ordering::Relaxed)
            .map_err(io::Error::other)?;
        Ok(match flags & NO_INTERRUPT {
            0 => step,
            _ => Step::Continue,
        })
    }
}

fn used_index(queue: &Queue, memory: Memory<'_>) -> io::Result<Wrapping<u16>> {
    let index = queue.used_idx(memory, Ordering::Acquire);
    index.map_err(io::Error::other)
}

fn read(packet: DescriptorChain<Memory<'_>>, memory: Memory<'_>) -> io::Result<Packet> {
    let mut bytes = [0; PACKET as usize];
    let read = memory.read_slice(&mut bytes, first(packet, PACKET)?);
    read.map_err(io::Error::other)?;
    Ok(Packet::from_bytes(&bytes))
}

/// The address of the only descriptor of a packet, which must have at least so many bytes.
fn first<M>(mut chain: DescriptorChain<M>, bytes: u64) -> io::Result<GuestAddress>
where
    M: Deref<Target = GuestMemoryMmap>,
{
    let descriptor = chain.next().filter(|it| u64::from(it.len()) >= bytes);
    let descriptor = descriptor.ok_or_else(|| io::Error::other("a buffer that is too short"))?;
    Ok(descriptor.addr())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use crate::ring::{BUFFER, Direction, RING, Ring, SIZE};
    use crate::vsock::Addresses;

    use super::*;

    const ADDRESSES: Addresses = Addresses {
        guest: (42, 1),
        host: (2, 2),
    };

    struct Guest {
        memory: GuestMemoryMmap,
        receive: Ring,
        transmit: Ring,
    }

    impl Guest {
        fn new() -> Self {
            let range = (GuestAddress(0), 1 << 20);
            let memory = GuestMemoryMmap::from_ranges(&[range]).unwrap();
            let (receive, transmit) = (Ring::new(0x1000), Ring::new(0x1000 + RING));
            receive.prepare(&memory, Direction::Receive).unwrap();
            let direction = Direction::Transmit(PACKET as u32);
            transmit.prepare(&memory, direction).unwrap();
            let packet = Packet::request(&ADDRESSES).to_bytes();
            for number in 0..u64::from(SIZE) {
                let address = GuestAddress(transmit.buffers() + number * BUFFER);
                memory.write_slice(&packet, address).unwrap();
            }
            Self {
                memory,
                receive,
                transmit,
            }
        }

        /// Makes one more packet available.
        fn send(&self) {
            self.make_available(&self.transmit);
        }

        fn make_available(&self, ring: &Ring) {
            let memory = &self.memory;
            let index = ring.available_index(memory).unwrap() + 1;
            let address = GuestAddress(ring.available() + 2);
            memory.store(index, address, Ordering::Release).unwrap();
        }

        fn used(&self) -> (u16, u16) {
            let used = |ring: &Ring| ring.used_index(&self.memory).unwrap();
            (used(&self.receive), used(&self.transmit))
        }

        /// Runs the steps of a daemon that has just been started, before it is killed.
        fn steps(&self, steps: usize) -> Vec<Step> {
            let [mut receive, mut transmit] = [&self.receive, &self.transmit].map(|ring| {
                let mut queue = Queue::new(SIZE).unwrap();
                let base = ring.used_index(&self.memory).unwrap();
                let descriptors = GuestAddress(ring.descriptors());
                queue.try_set_desc_table_address(descriptors).unwrap();
                let available = GuestAddress(ring.available());
                queue.try_set_avail_ring_address(available).unwrap();
                let used = GuestAddress(ring.used());
                queue.try_set_used_ring_address(used).unwrap();
                queue.set_next_avail(base);
                queue.set_next_used(base);
                queue.set_ready(true);
                queue
            });
            let mut rings = Rings {
                memory: &self.memory,
                receive: &mut receive,
                transmit: &mut transmit,
            };
            (0..steps).map(|_| rings.step().unwrap()).collect()
        }
    }

    #[test]
    fn a_packet_that_was_answered_before_a_crash_is_only_completed() {
        let guest = Guest::new();
        guest.send();
        assert_eq!(guest.steps(1), [Step::CallReceive]);
        assert_eq!(guest.used(), (1, 0));
        // The guest has the reply, so it may send the next packet before there is a new daemon.
        guest.send();
        assert_eq!(guest.steps(1), [Step::Continue]);
        assert_eq!(guest.used(), (1, 1));
        let rest = [Step::CallReceive, Step::Continue, Step::Wait];
        assert_eq!(guest.steps(3), rest);
        assert_eq!(guest.used(), (2, 2));
    }

    #[test]
    fn a_guest_that_makes_too_much_available_does_not_make_the_daemon_spin() {
        let guest = Guest::new();
        guest.make_available(&guest.receive);
        guest.send();
        assert_eq!(guest.steps(1), [Step::Wait]);
    }

    #[test]
    fn a_daemon_killed_after_each_step_answers_each_packet_once() {
        let guest = Guest::new();
        for packet in 1..=200 {
            guest.send();
            assert_eq!(guest.steps(1), [Step::CallReceive]);
            assert_eq!(guest.used(), (packet, packet - 1));
            guest.make_available(&guest.receive);
            assert_eq!(guest.steps(1), [Step::Continue]);
            assert_eq!(guest.steps(1), [Step::Wait]);
            assert_eq!(guest.used(), (packet, packet));
        }
    }
}
