// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A queue that vhost reads: handing it over, and taking it back.
//!
//! vhost polls the notifier's eventfd, in the kernel or in another process. The doorbell stays
//! registered all the while: only the reader of the eventfd changes.
//!
//! ```text
//!                                              one reader at a time:
//!  guest kicks --> KVM: match ------> eventfd --> the VMM's handler   reads the counter
//!                    | no match         ^    +--> vhost in the kernel never reads it
//!                    v                  |    +--> a vhost-user daemon reads it
//!                  exit --> on_exit_write
//! ```
//!
//! # To vhost
//!
//! 1. Remove the VMM's handler from the notifier.
//! 2. Give the notifier's file descriptor to VHOST_SET_VRING_KICK, and set the backend.
//! 3. Call [`kick`](crate::DoorbellSet::kick): a kick from before the backend was set may have had
//!    no effect.
//!
//! # And back
//!
//! 1. Unset the backend, and call VHOST_SET_VRING_KICK with -1.
//! 2. Call [`drain`](crate::DoorbellSet::drain). Before step 1 it could hide a kick from vhost.
//! 3. Process each queue once, whatever the counts.
//! 4. Add the handler again. Before step 2 it would take old kicks for new ones.
//!
//! [`Vrings`](notify_core::vring::Vrings) does this for all queues of a device, except for the
//! handlers.
//!
//! # What `drain` and `on_exit_write` do
//!
//! - [`drain`](crate::DoorbellSet::drain) reads and clears the counter of each notifier of the set.
//!   A vhost worker in the kernel never does, so the counts include all kicks since it began.
//! - [`on_exit_write`](crate::DoorbellSet::on_exit_write) signals the eventfd, for any reader.
//!   So a kick that exits to user space reaches vhost too, during a move of the BAR for example.
//! - [`kick`](crate::DoorbellSet::kick) and [`start`](crate::DoorbellSet::start) signal it once.
//! - [`stop`](crate::DoorbellSet::stop) clears the counter, so stop the back-end before: a daemon
//!   that reads the eventfd would miss these kicks.
//!
//! ```
//! # use std::sync::Arc;
//! # use ioeventfd::virtio::{self, Notification};
//! # use ioeventfd::{DoorbellRegistry, DoorbellSet, IoAddress, Window};
//! # use notify_core::EventNotifier;
//! # use notify_sim::SimVm;
//! # let vm = Arc::new(SimVm::builder().build());
//! # let registry = DoorbellRegistry::new(vm.clone(), Window::of_irqchip(&*vm)?);
//! # let set = DoorbellSet::new(&registry);
//! # let queue = Arc::new(EventNotifier::new()?);
//! # let bells = virtio::mmio(0xd000_0000, [0], Notification::Index)?;
//! # let wanted = bells.into_iter().map(|bell| bell.signalling(queue.clone()));
//! # set.apply(set.plan(wanted)?)?;
//! use notify_core::Bus;
//!
//! // vhost has the queue. The guest kicks twice; one kick exits to user space.
//! set.kick()?; // when the backend is set
//! vm.guest_write(Bus::Mmio, 0xd000_0050, &[0; 4]);
//! set.on_exit_write(IoAddress::Mmio(0xd000_0050), &[0; 4])?;
//!
//! // The backend is unset. All three signals are in the counter.
//! let leftovers = set.drain()?;
//! assert_eq!((leftovers[0].key, leftovers[0].kicks.get()), (0, 3));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A queue that gets another eventfd
//!
//! [`apply`](crate::DoorbellSet::apply) with another notifier for a key moves pending kicks from
//! the old one to the new one. If vhost polled the old one, its counter has kicks that were served
//! long ago. Take the queue back first, with `drain`, and then apply.
//!
//! # A process that is not trusted
//!
//! A vhost-user daemon has the eventfd itself. It can fill the counter and clear O_NONBLOCK. A
//! signal then blocks its sender: in `on_exit_write` that is the vCPU that kicks. Other vCPUs,
//! other queues and changes of the set go on.
