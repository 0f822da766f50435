// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Threads, locks, and what may block.
//!
//! The types are `Send + Sync`. Any thread may call anything at any time, unless this page says
//! otherwise. No call waits until the guest has handled an interrupt, and none needs stopped vCPUs.
//! "A commit" is one KVM_SET_GSI_ROUTING, and the commits of other threads that are under way. "One
//! KVM_IRQFD" waits for injections that KVM has begun: some 40 microseconds to unbind, and more on
//! a loaded host.
//!
//! # What a device thread calls
//!
//! | call | waits for | system calls |
//! |---|---|---|
//! | [`trigger`] of an internal vector | nothing | KVM_SIGNAL_MSI; none if the vector is masked |
//! | [`trigger`] of an exported or private vector | nothing; see below for a hostile peer | one `write`; none for a private vector that is masked |
//! | [`Binding::trigger`] | nothing | those of the vector |
//! | [`Table::is_enabled`] | nothing | none |
//! | [`LevelIrq::assert`], [`LevelIrq::deassert`] | the line's lock | KVM_IRQ_LINE if the level of the line changes; on a split irqchip see [`system_calls`] |
//! | [`inject::message`], [`inject::line`] | nothing; on arm64 and riscv64 `line` takes the table's lock | one |
//! | [`is_pending`], [`state`] | the vector's lock | at most one read |
//!
//! A trigger allocates nothing and waits for no lock. **A hostile peer** that shares the eventfd of
//! an exported vector can make it blocking and fill its counter. Then a trigger waits in `write`
//! until the peer reads. Other vectors and the vCPUs do not wait for it, also not a mask of this
//! vector. Do not trigger a peer's vector on a thread that must not stop.
//!
//! # What a vCPU thread calls
//!
//! | call | waits for |
//! |---|---|
//! | [`Table::read`], [`Table::write`], [`Table::pba_read`], [`Table::config_write`] | the table's lock |
//! | the same, and it masks | triggers that are in flight; one KVM_IRQFD for each armed vector |
//! | the same, and it unmasks, with an [`ArmQueue`] | nothing more: the vector is queued |
//! | the same, without a queue | a commit for private and exported vectors, and one KVM_IRQFD for each |
//! | [`Binding::bind`] | another move of this queue |
//! | [`Binding::bind_call`] | the back-end, as long as `set_call` takes |
//! | [`LevelLine::redirect`] | the line's lock; a commit if the entry is unmasked with a new message |
//! | [`EoiExits::on_vector`], [`EoiExits::on_pin`] | the lock of each line of that vector or pin, and of a line that is in `redirect` |
//! | [`inject::vcpu`] | nothing on the vCPU's own thread; on another one until the vCPU leaves KVM_RUN |
//!
//! A mask never waits for a commit.
//!
//! # What a VMM thread calls
//!
//! | call | waits for |
//! |---|---|
//! | [`ArmQueue::run_pending`] | another round; one commit, and one KVM_IRQFD for each vector |
//! | [`Table::pause`], [`LevelLine::pause`] | one KVM_IRQFD for each armed vector or exported device |
//! | [`Table::resume`], [`ResumeBatch::run`] | one commit for vectors without a queue |
//! | [`Table::snapshot`], [`Table::restore`] | the table's lock; one read for each exported vector |
//! | [`LevelLine::resume`] | one KVM_IRQFD for each exported device |
//! | [`IrqFdBuilder::assign`], [`IrqFd::deassign`] | one KVM_IRQFD |
//! | [`PassthroughIntx::enable`], `disable` | VFIO's calls and one KVM_IRQFD |
//!
//! # What a drop waits for
//!
//! | drop of | waits for |
//! |---|---|
//! | the last clone of a [`Table`], the last handle of a [`Vector`] | one KVM_IRQFD for each armed vector |
//! | [`IrqFd`] | one KVM_IRQFD |
//! | [`LevelIrq`] | one KVM_IRQFD if it has an irqfd, one KVM_IRQ_LINE if it was the last that asserts |
//! | [`ArmQueue`] | a last round |
//! | [`ResumeBatch`] | what its run waits for |
//! | [`PassthroughIntx`] | what `disable` waits for |
//!
//! A drop never panics. What it cannot undo is logged, and the GSI stays out of use. When a VM is
//! shut down, call [`Vm::retire`](crate::Vm::retire) first: from then on drops issue no ioctl, and
//! may come in any order.
//!
//! # Locks, and in which order
//!
//! ```text
//!  MSI-X, MSI   msix::Table, msi::Capability, msix::Binding ─▶ vector ─▶ routing table
//!  a queue      one round at a time ─▶ vector ─▶ routing table
//!  a line       LevelLine ─▶ routing table, or the VMM's Controller
//! ```
//!
//! These are locks of the crates. A VMM's own lock may be held around any call, if none of the code
//! below takes it.
//!
//! # Code of the VMM that is called, and what it must not do
//!
//! | code | called by | a lock is held | it must not |
//! |---|---|---|---|
//! | a translation ([`RoutingTableBuilder::translate`]) | commits, unmask, export, a change of a message; never a trigger or a mask | in a round of a queue: that of the round; in `redirect`: the line's | use the table, panic, or keep a handle to it |
//! | [`Observer`](irq_routing::Observer) | the thread that caused the event | those named on its page | call back, block |
//! | [`Controller::set_level`] | a change of the line | the line's | use the line, or wait for a thread that does |
//! | `set_call` of [`Binding::bind_call`] | the same thread | the binding's | call anything of this binding but `number` and `trigger` |
//! | [`IntxDevice`](crate::vfio::IntxDevice) | the same thread | none | |
//! | [`Vm`](crate::Vm), another hypervisor | any thread, also from a drop | any | use these crates |
//!
//! So a thread that holds a lock which the translation or the controller takes must not call
//! `redirect`, `unmask`, `run_pending`, or report an EOI.
//!
//! # Which loop runs the queue
//!
//! An [`ArmQueue`] is a file descriptor that is readable when vectors wait. Put it into the event
//! loop of the VMM, not into that of one device. If the loop stops, vectors that the guest unmasks
//! stay [`Queued`](crate::VectorState::Queued). Dropping the queue arms them, and later unmasks arm
//! their vectors at once.
//!
//! No thread is started and no signal handler is installed. Messages go to the crate `log`: a
//! vector that is dead at level `warn`, once for each vector, and what cannot be undone or is lost
//! at level `error`.
//!
//! [`trigger`]: crate::VectorHandle::trigger
//! [`is_pending`]: crate::VectorHandle::is_pending
//! [`state`]: crate::VectorHandle::state
//! [`ArmQueue`]: crate::ArmQueue
//! [`ArmQueue::run_pending`]: crate::ArmQueue::run_pending
//! [`Binding::bind`]: crate::msix::Binding::bind
//! [`Binding::bind_call`]: crate::msix::Binding::bind_call
//! [`Binding::trigger`]: crate::msix::Binding::trigger
//! [`Controller::set_level`]: crate::Controller::set_level
//! [`EoiExits::on_pin`]: crate::EoiExits::on_pin
//! [`EoiExits::on_vector`]: crate::EoiExits::on_vector
//! [`inject::line`]: crate::inject::line()
//! [`inject::message`]: crate::inject::message()
//! [`inject::vcpu`]: crate::inject::vcpu()
//! [`IrqFd`]: crate::IrqFd
//! [`IrqFd::deassign`]: crate::IrqFd::deassign
//! [`IrqFdBuilder::assign`]: crate::IrqFdBuilder::assign
//! [`LevelIrq`]: crate::LevelIrq
//! [`LevelIrq::assert`]: crate::LevelIrq::assert
//! [`LevelIrq::deassert`]: crate::LevelIrq::deassert
//! [`LevelLine::pause`]: crate::LevelLine::pause
//! [`LevelLine::redirect`]: crate::LevelLine::redirect
//! [`LevelLine::resume`]: crate::LevelLine::resume
//! [`PassthroughIntx`]: crate::vfio::PassthroughIntx
//! [`PassthroughIntx::enable`]: crate::vfio::PassthroughIntx::enable
//! [`ResumeBatch`]: crate::ResumeBatch
//! [`ResumeBatch::run`]: crate::ResumeBatch::run
//! [`RoutingTableBuilder::translate`]: irq_routing::RoutingTableBuilder::translate
//! [`system_calls`]: crate::system_calls
//! [`Table`]: crate::msix::Table
//! [`Table::config_write`]: crate::msix::Table::config_write
//! [`Table::is_enabled`]: crate::msix::Table::is_enabled
//! [`Table::pause`]: crate::msix::Table::pause
//! [`Table::pba_read`]: crate::msix::Table::pba_read
//! [`Table::read`]: crate::msix::Table::read
//! [`Table::restore`]: crate::msix::Table::restore
//! [`Table::resume`]: crate::msix::Table::resume
//! [`Table::snapshot`]: crate::msix::Table::snapshot
//! [`Table::write`]: crate::msix::Table::write
//! [`Vector`]: crate::Vector
