// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Level-triggered interrupts by eventfds: a signal raises the line, the guest's EOI lowers it and
//! signals the resample eventfd, and then the device signals again if it still has an interrupt.
//!
//! The guest's interrupts come through the PICs here, whose EOIs KVM sees on every host.

use crate::backend::{Backend, Bus, Irqchip};
use crate::case::{Case, Host, case};
use crate::event::Event;
use crate::expect::{expect_count, expect_ok};
use crate::request::{
    IOAPIC, PIC_MASTER, Routing, irqfd, line, msi_route, pin_route, resampling, unbind,
};

/// A pin, and how the PIC takes it.
#[derive(Clone, Copy)]
struct Pin {
    gsi: u32,
    level: bool,
}

const PINS: [(&str, Pin); 3] = [
    (
        "edge",
        Pin {
            gsi: 5,
            level: false,
        },
    ),
    (
        "level",
        Pin {
            gsi: 5,
            level: true,
        },
    ),
    (
        "second_pic",
        Pin {
            gsi: 10,
            level: true,
        },
    ),
];

impl Pin {
    fn vector(self) -> u8 {
        0x60 + u8::try_from(self.gsi).unwrap()
    }

    fn line(self) -> u32 {
        1 << self.gsi
    }

    /// The guest's interrupt after a request was lowered that it had not taken. An edge is
    /// remembered; a level is gone with its cause. The first PIC still has the second PIC's
    /// request, but the second has no interrupt then: that gives a spurious interrupt, of the
    /// vector of the last pin.
    fn after_it_fell(self) -> Option<u8> {
        match (self.level, self.gsi) {
            (false, _) => Some(self.vector()),
            (true, 0..8) => None,
            (true, _) => Some(0x6f),
        }
    }
}

/// The guest sets up both PICs: vectors from 0x60 on, and which pins are level-triggered.
pub(crate) fn set_up(vm: &dyn Backend, elcr: [u8; 2]) {
    for (command, vector, cascade) in [(0x20, 0x60, 4), (0xa0, 0x68, 2)] {
        let data = command + 1;
        vm.expect_taken(Bus::Pio, command, &[0x11]);
        for byte in [vector, cascade, 1, 0] {
            vm.expect_taken(Bus::Pio, data, &[byte]);
        }
    }
    for (port, pins) in (0x4d0..).zip(elcr) {
        vm.expect_taken(Bus::Pio, port, &[pins]);
    }
}

fn vm(host: &Host, pin: Pin) -> Box<dyn Backend> {
    let vm = host.machine(Irqchip::Full, 1);
    let level = if pin.level { pin.line() } else { 0 };
    let [master, slave, ..] = level.to_le_bytes();
    set_up(&*vm, [master, slave]);
    vm
}

/// The guest sends the EOI of the interrupt that it took last.
fn end(vm: &dyn Backend) {
    vm.expect_taken(Bus::Pio, 0xa0, &[0x20]);
    vm.expect_taken(Bus::Pio, 0x20, &[0x20]);
}

/// The guest takes the interrupt of a pin and sends its EOI.
#[track_caller]
fn serve(vm: &dyn Backend, pin: Pin) {
    assert_eq!(vm.guest_takes_interrupt(), Some(pin.vector()), "the vector");
    end(vm);
}

/// The trigger of a device, and its resample eventfd.
struct Device {
    trigger: Event,
    resample: Event,
}

impl Device {
    fn new(vm: &dyn Backend, gsi: u32) -> Self {
        let device = Self {
            trigger: Event::new(),
            resample: Event::new(),
        };
        expect_ok(vm.irqfd(&resampling(&device.trigger, gsi, &device.resample)));
        device
    }
}

type Scenario = (&'static str, fn(&dyn Backend, Pin));

/// On each of [`PINS`].
const SCENARIOS: [Scenario; 14] = [
    ("a_signal_raises_the_line", |vm, pin| {
        let device = Device::new(vm, pin.gsi);
        vm.signal(&device.trigger);
        assert_eq!(vm.ioapic_irr(), pin.line());
        expect_count(&device.resample, 0);
        expect_count(&device.trigger, 0);
    }),
    ("a_signal_reaches_all_chips_of_the_gsi", |vm, pin| {
        vm.expect_lines(0, 0, 0);
        let device = Device::new(vm, pin.gsi);
        vm.expect_lines(0, 0, 0);
        vm.signal(&device.trigger);
        // The second PIC's requests are one of the first's, at its pin 2.
        let [master, slave] = match pin.gsi {
            0..8 => [1 << pin.gsi, 0],
            gsi => [1 << 2, 1 << (gsi - 8)],
        };
        vm.expect_lines(master, slave, pin.line());
    }),
    ("taking_it_ends_nothing", |vm, pin| {
        let device = Device::new(vm, pin.gsi);
        vm.signal(&device.trigger);
        assert_eq!(vm.guest_takes_interrupt(), Some(pin.vector()));
        assert_eq!(vm.ioapic_irr(), pin.line());
        expect_count(&device.resample, 0);
    }),
    ("its_end_lowers_the_line_and_asks_again", |vm, pin| {
        let device = Device::new(vm, pin.gsi);
        vm.signal(&device.trigger);
        serve(vm, pin);
        assert_eq!(vm.ioapic_irr(), 0);
        expect_count(&device.resample, 1);
        assert_eq!(vm.guest_takes_interrupt(), None);
    }),
    ("a_device_that_still_wants_it_signals_again", |vm, pin| {
        let device = Device::new(vm, pin.gsi);
        for _ in 0..3 {
            vm.signal(&device.trigger);
            serve(vm, pin);
            expect_count(&device.resample, 1);
        }
        assert_eq!(vm.guest_takes_interrupt(), None);
    }),
    ("three_signals_are_one_interrupt", |vm, pin| {
        let device = Device::new(vm, pin.gsi);
        (0..3).for_each(|_| vm.signal(&device.trigger));
        serve(vm, pin);
        expect_count(&device.resample, 1);
        assert_eq!(vm.guest_takes_interrupt(), None);
    }),
    ("all_that_share_the_gsi_are_asked", |vm, pin| {
        let (one, other) = (Device::new(vm, pin.gsi), Device::new(vm, pin.gsi));
        vm.signal(&one.trigger);
        serve(vm, pin);
        expect_count(&one.resample, 1);
        expect_count(&other.resample, 1);
    }),
    ("the_line_stays_until_the_last_one_leaves", |vm, pin| {
        let (one, other) = (Device::new(vm, pin.gsi), Device::new(vm, pin.gsi));
        vm.signal(&one.trigger);
        expect_ok(vm.irqfd(&unbind(&one.trigger, pin.gsi)));
        assert_eq!(vm.ioapic_irr(), pin.line());
        expect_ok(vm.irqfd(&unbind(&other.trigger, pin.gsi)));
        assert_eq!(vm.ioapic_irr(), 0);
        expect_count(&one.resample, 0);
        expect_count(&other.resample, 0);
    }),
    ("who_has_left_is_not_asked", |vm, pin| {
        let (one, other) = (Device::new(vm, pin.gsi), Device::new(vm, pin.gsi));
        vm.signal(&one.trigger);
        expect_ok(vm.irqfd(&unbind(&one.trigger, pin.gsi)));
        serve(vm, pin);
        expect_count(&one.resample, 0);
        expect_count(&other.resample, 1);
    }),
    (
        "the_last_one_to_leave_lowers_what_another_raised",
        |vm, pin| {
            let (one, other) = (Device::new(vm, pin.gsi), Device::new(vm, pin.gsi));
            vm.signal(&other.trigger);
            expect_ok(vm.irqfd(&unbind(&other.trigger, pin.gsi)));
            assert_eq!(vm.ioapic_irr(), pin.line());
            expect_ok(vm.irqfd(&unbind(&one.trigger, pin.gsi)));
            assert_eq!(vm.ioapic_irr(), 0);
            assert_eq!(vm.guest_takes_interrupt(), pin.after_it_fell());
        },
    ),
    (
        "the_last_one_to_leave_lowers_its_own_share_alone",
        |vm, pin| {
            let device = Device::new(vm, pin.gsi);
            expect_ok(vm.irq_line(&line(pin.gsi, 1)));
            vm.signal(&device.trigger);
            expect_ok(vm.irqfd(&unbind(&device.trigger, pin.gsi)));
            assert_eq!(vm.ioapic_irr(), pin.line());
            expect_ok(vm.irq_line(&line(pin.gsi, 0)));
            assert_eq!(vm.ioapic_irr(), 0);
        },
    ),
    (
        "a_line_that_stays_up_interrupts_again_if_it_is_a_level",
        |vm, pin| {
            let device = Device::new(vm, pin.gsi);
            expect_ok(vm.irq_line(&line(pin.gsi, 1)));
            serve(vm, pin);
            expect_count(&device.resample, 1);
            for _ in 0..4 {
                assert_eq!(vm.ioapic_irr(), pin.line());
                if pin.level {
                    serve(vm, pin);
                    expect_count(&device.resample, 1);
                } else {
                    assert_eq!(vm.guest_takes_interrupt(), None);
                    expect_count(&device.resample, 0);
                }
            }
            expect_ok(vm.irq_line(&line(pin.gsi, 0)));
            assert_eq!(vm.ioapic_irr(), 0);
            let late = pin.after_it_fell().filter(|_| pin.level);
            assert_eq!(vm.guest_takes_interrupt(), late);
        },
    ),
    ("asked_even_if_another_raised_the_line", |vm, pin| {
        let device = Device::new(vm, pin.gsi);
        expect_ok(vm.irq_line(&line(pin.gsi, 1)));
        serve(vm, pin);
        expect_count(&device.resample, 1);
        // That EOI did not lower it.
        assert_eq!(vm.ioapic_irr(), pin.line());
        expect_ok(vm.irq_line(&line(pin.gsi, 0)));
        assert_eq!(vm.ioapic_irr(), 0);
    }),
    ("a_plain_one_on_the_gsi_is_heard_too", |vm, pin| {
        let device = Device::new(vm, pin.gsi);
        let plain = Event::new();
        expect_ok(vm.irqfd(&irqfd(&plain, pin.gsi)));
        vm.signal(&device.trigger);
        vm.signal(&plain);
        assert_eq!(vm.ioapic_irr(), pin.line(), "the line is up");
        serve(vm, pin);
        expect_count(&device.resample, 1);
        assert_eq!(vm.ioapic_irr(), 0);
    }),
];

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, pin) in PINS {
        for (scenario, run) in SCENARIOS {
            cases.push(case(format!("{name}_{scenario}"), move |host| {
                run(&*vm(host, pin), pin);
            }));
        }
    }
    cases.extend([
        case("two_gsis_of_one_pin_only_the_last_is_asked", |host| {
            let pin = PINS[0].1;
            let vm = vm(host, pin);
            let routes = [pin_route(5, PIC_MASTER, 5), pin_route(55, PIC_MASTER, 5)];
            expect_ok(vm.set_gsi_routing(&Routing::of(&routes)));
            let (first, last) = (Device::new(&*vm, 5), Device::new(&*vm, 55));
            vm.signal(&first.trigger);
            serve(&*vm, pin);
            expect_count(&first.resample, 0);
            expect_count(&last.resample, 1);
        }),
        case("two_gsis_of_one_pin_the_other_way_round", |host| {
            let pin = PINS[0].1;
            let vm = vm(host, pin);
            let routes = [pin_route(55, PIC_MASTER, 5), pin_route(5, PIC_MASTER, 5)];
            expect_ok(vm.set_gsi_routing(&Routing::of(&routes)));
            let (last, first) = (Device::new(&*vm, 5), Device::new(&*vm, 55));
            vm.signal(&first.trigger);
            serve(&*vm, pin);
            expect_count(&first.resample, 0);
            expect_count(&last.resample, 1);
        }),
        case("resamplefd_that_is_the_trigger_asserts_again", |host| {
            let pin = PINS[1].1;
            let (vm, event) = (vm(host, pin), Event::new());
            expect_ok(vm.irqfd(&resampling(&event, pin.gsi, &event)));
            vm.signal(&event);
            for _ in 0..3 {
                serve(&*vm, pin);
                vm.settle();
            }
            assert_eq!(vm.ioapic_irr(), pin.line());
        }),
        case("resamplefd_that_is_bound_raises_the_other_gsi", |host| {
            let pin = PINS[1].1;
            let (vm, trigger, resample) = (vm(host, pin), Event::new(), Event::new());
            expect_ok(vm.irqfd(&irqfd(&resample, 7)));
            expect_ok(vm.irqfd(&resampling(&trigger, pin.gsi, &resample)));
            vm.signal(&trigger);
            serve(&*vm, pin);
            vm.settle();
            assert_eq!(vm.guest_takes_interrupt(), Some(0x67));
        }),
        case("a_resampler_of_a_message_is_never_asked", |host| {
            let vm = host.vm();
            expect_ok(vm.set_gsi_routing(&Routing::of(&[msi_route(100, 0x41)])));
            let device = Device::new(&*vm, 100);
            vm.signal(&device.trigger);
            vm.expect_msi(&[0x41]);
            expect_count(&device.resample, 0);
        }),
        case("ioapic_level_stays_up", |host| {
            let vm = host.vm();
            expect_ok(vm.set_gsi_routing(&Routing::of(&[pin_route(20, IOAPIC, 20)])));
            vm.redirect_pin(20, 0x8071);
            let device = Device::new(&*vm, 20);
            vm.signal(&device.trigger);
            vm.expect_msi(&[0x71]);
            vm.expect_lines(0, 0, 1 << 20);
            vm.signal(&device.trigger);
            vm.expect_silence();
            expect_ok(vm.irqfd(&unbind(&device.trigger, 20)));
            vm.expect_lines(0, 0, 0);
        }),
        case("unrouted_resampler_is_drained", |host| {
            let vm = host.vm();
            let device = Device::new(&*vm, 4096);
            vm.signal(&device.trigger);
            expect_count(&device.trigger, 0);
            vm.expect_lines(0, 0, 0);
        }),
        case("deassign_of_a_refused_duplicate_keeps_the_line", |host| {
            let pin = PINS[1].1;
            let vm = vm(host, pin);
            let device = Device::new(&*vm, pin.gsi);
            vm.signal(&device.trigger);
            let again = resampling(&device.trigger, pin.gsi, &Event::new());
            assert!(vm.irqfd(&again).is_err());
            assert_eq!(vm.ioapic_irr(), pin.line());
        }),
    ]);
    cases
}
