// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Ports and MMIO: each width, each direction.

use kvm_test::{Trial, kvm};
use tiny_guest::kvm_ioctls::{IoEventAddress, NoDatamatch};
use tiny_guest::layout::DOORBELL;
use tiny_guest::{Exit, Program};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::support::{finish, guarded, machine};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        kvm("writes_of_each_width", writes_of_each_width),
        kvm("reads_of_each_width", reads_of_each_width),
        kvm("a_doorbell_rings_without_an_exit", doorbell),
    ]
}

#[derive(Debug, PartialEq)]
enum Seen {
    Mmio(u64, Vec<u8>),
    Port(u16, Vec<u8>),
}

fn writes_of_each_width() {
    let (_machine, mut vcpu) = machine();
    let program = Program::new(|asm| {
        asm.mmio_write8(DOORBELL, 0x88)?;
        asm.mmio_write16(DOORBELL + 2, 0x7788)?;
        asm.mmio_write32(DOORBELL + 4, 0x5566_7788)?;
        asm.mmio_write64(DOORBELL + 0x3f_fff8, 0x1122_3344_5566_7788)?;
        asm.port_write8(0x1234, 0x88)?;
        asm.port_write16(0x1234, 0x7788)?;
        asm.port_write32(0x1234, 0x5566_7788)?;
        asm.port_write16(0xf4, 0x7788) // finishing takes 4 bytes
    });
    vcpu.load(program.unwrap()).unwrap();
    let bytes = [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11];
    let expected = [
        Seen::Mmio(DOORBELL, bytes[..1].into()),
        Seen::Mmio(DOORBELL + 2, bytes[..2].into()),
        Seen::Mmio(DOORBELL + 4, bytes[..4].into()),
        Seen::Mmio(0xd03f_fff8, bytes.into()),
        Seen::Port(0x1234, bytes[..1].into()),
        Seen::Port(0x1234, bytes[..2].into()),
        Seen::Port(0x1234, bytes[..4].into()),
        Seen::Port(0xf4, bytes[..2].into()),
    ];
    let seen = guarded(&mut vcpu, |vcpu| {
        let mut seen = Vec::new();
        loop {
            match vcpu.run().unwrap() {
                Exit::MmioWrite { address, data } => seen.push(Seen::Mmio(address, data.into())),
                Exit::PortWrite { port, data } => seen.push(Seen::Port(port, data.into())),
                Exit::Finished(0) => break seen,
                other => panic!("{other:?}"),
            }
        }
    });
    assert_eq!(seen, expected);
}

fn reads_of_each_width() {
    let (machine, mut vcpu) = machine();
    let slots: Vec<_> = (0..7).map(|_| machine.slot().unwrap()).collect();
    for slot in &slots {
        slot.store(u64::MAX).unwrap();
    }
    let program = Program::new(|asm| {
        asm.mmio_read8(DOORBELL, &slots[0])?;
        asm.mmio_read16(DOORBELL + 8, &slots[1])?;
        asm.mmio_read32(DOORBELL + 8, &slots[2])?;
        asm.mmio_read64(DOORBELL + 8, &slots[3])?;
        asm.port_read8(0x1234, &slots[4])?;
        asm.port_read16(0x1234, &slots[5])?;
        asm.port_read32(0x1234, &slots[6])
    });
    vcpu.load(program.unwrap()).unwrap();
    let reply = 0xf122_3344_f566_f7f8_u64.to_le_bytes();
    guarded(&mut vcpu, |vcpu| {
        loop {
            match vcpu.run().unwrap() {
                Exit::MmioRead { data, .. } => data.copy_from_slice(&reply[..data.len()]),
                Exit::PortRead { port, data } => {
                    assert_eq!(port, 0x1234);
                    data.copy_from_slice(&reply[..data.len()]);
                }
                Exit::Finished(0) => break,
                other => panic!("{other:?}"),
            }
        }
    });
    let read: Vec<_> = slots.iter().map(|slot| slot.load().unwrap()).collect();
    assert_eq!(
        read,
        [
            0xf8,
            0xf7f8,
            0xf566_f7f8,
            0xf122_3344_f566_f7f8,
            0xf8,
            0xf7f8,
            0xf566_f7f8,
        ]
    );
}

fn doorbell() {
    let (machine, mut vcpu) = machine();
    let (memory, port) = (
        EventFd::new(EFD_NONBLOCK).unwrap(),
        EventFd::new(EFD_NONBLOCK).unwrap(),
    );
    let vm = machine.vm();
    vm.register_ioevent(&memory, &IoEventAddress::Mmio(DOORBELL), NoDatamatch)
        .unwrap();
    vm.register_ioevent(&port, &IoEventAddress::Pio(0x1234), NoDatamatch)
        .unwrap();
    let program = Program::new(|asm| {
        asm.repeat(10, |asm| asm.mmio_write32(DOORBELL, 1))?;
        asm.repeat(20, |asm| asm.port_write16(0x1234, 1))
    });
    vcpu.load(program.unwrap()).unwrap();
    assert_eq!(finish(&mut vcpu), 0);
    assert_eq!(memory.read().unwrap(), 10);
    assert_eq!(port.read().unwrap(), 20);
}
