// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Runs random histories of one kind, or of all in turn, for minutes or hours.

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bpaf::{OptionParser, Parser, construct, long, positional};
use examples::arguments::seed;
use examples::program::{end, show};
use histories::targets::{TARGETS, of_name};
use histories::{Target, random_bytes};

#[derive(Debug, Clone)]
struct Arguments {
    time: Duration,
    seed: u64,
    target: Option<Target>,
}

fn arguments() -> OptionParser<Arguments> {
    let minutes = long("minutes").help("How many minutes each kind runs [default: 1]");
    let minutes = minutes.argument::<u64>("COUNT").map(|count| count * 60);
    let seconds = long("seconds").help("How many seconds, instead");
    let seconds = seconds.argument::<u64>("COUNT");
    let time = construct!([minutes, seconds])
        .fallback(60)
        .map(Duration::from_secs);
    let seed = seed();
    let target =
        positional::<String>("TARGET").help("One kind of histories; all of them if left out");
    let target = target.parse(|name| of_name(&name).ok_or("there is no such target"));
    let target = target.optional();
    construct!(Arguments { time, seed, target })
        .to_options()
        .descr("Random histories beside models. One that fails is shortened and printed.")
}

fn main() -> ExitCode {
    end("soak", run(&arguments().run()))
}

fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let targets = match &arguments.target {
        Some(target) => std::slice::from_ref(target),
        None => TARGETS,
    };
    for target in targets {
        if target.needs_kvm
            && let Err(why) = kvm_probe::probe()
        {
            show(format_args!("{}: left out: {why}\n", target.name))?;
            continue;
        }
        let (mut histories, mut steps) = (0_u64, 0_usize);
        let start = Instant::now();
        while start.elapsed() < arguments.time {
            steps += (target.check)(&random_bytes(arguments.seed, histories));
            histories += 1;
        }
        let name = target.name;
        show(format_args!(
            "{name}: {histories} histories, {steps} steps, none failed\n"
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
