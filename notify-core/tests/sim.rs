// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The rules that `SimVm` keeps, one test each.
