// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Runs random histories of one target, or of all in turn, for minutes or hours.

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
    let minutes = long("minutes").help("How many minutes each target runs [default: 1]");
    let minutes = minutes.argument::<u64>("COUNT").map(|count| count * 60);
    let seconds = long("seconds").help("How many seconds each target runs, instead");
    let seconds = seconds.argument::<u64>("COUNT");
    let time = construct!([minutes, seconds])
        .fallback(60)
        .map(Duration::from_secs);
    let seed = seed();
    let target = positional::<String>("TARGET").help("The target; all of them if left out");
    let target = target.parse(|name| of_name(&name).ok_or("no target has this name"));
    let target = target.optional();
    construct!(Arguments { time, seed, target })
        .to_options()
        .descr(
            "Runs random histories beside models. A history that fails is shortened and printed.",
        )
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
            show(format_args!("{}: skipped: {why}\n", target.name))?;
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
