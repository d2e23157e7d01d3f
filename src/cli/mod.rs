//! People at a terminal: one file per command. Results go to standard output, everything else to standard error.

mod agent;
mod agent_key;
mod alert;
mod audit;
mod backup;
mod client;
mod completions;
mod config;
mod confirm;
mod connect;
mod demo;
mod doctor;
mod error;
mod export;
mod group;
mod http_client;
mod import;
mod key;
mod limits;
pub mod local_cluster;
mod login;
mod logins;
mod logout;
mod me;
mod migrate;
mod mock_provider;
mod output;
mod passwords;
mod peer;
mod pinned;
mod price;
mod promote;
mod rejected;
mod restore;
mod serve;
mod session;
mod signing_key;
mod stats;
mod stop;
mod target;
mod token;
#[cfg(unix)]
mod torture;
mod usage;
mod user;
mod when;
mod whole_file;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use error::Error;

/// The version, and what it was built from.
const VERSION: &str = env!("SPROXY_VERSION");

/// An LLM gateway that a company runs itself
#[derive(Debug, Parser)]
#[command(name = "sproxy", version = VERSION, propagate_version = true)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 64 wrong usage or configuration.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Play a whole cluster on this machine: real traffic, a live table, and a verdict on the books
    Demo(demo::DemoArgs),
    /// Break a whole cluster on this machine again and again under load, and compare the books with what callers received
    #[cfg(unix)]
    Torture(torture::TortureArgs),
    /// Run a node
    Serve(serve::ServeArgs),
    /// Run a fake provider that speaks every dialect, for demos, tests and benches
    MockProvider(mock_provider::MockProviderArgs),
    /// Check a configuration, show the effective one, print the commented defaults, reload
    Config(config::ConfigArgs),
    /// Sign in to a gateway and stay signed in on this machine
    Login(login::LoginArgs),
    /// Sign out
    Logout(logout::LogoutArgs),
    Token(token::TokenArgs),
    Connect(connect::ConnectArgs),
    Me(me::MeArgs),
    Doctor(doctor::DoctorArgs),
    Agent(agent::AgentArgs),
    /// People and services that may call
    User(user::UserArgs),
    /// Users who share limits
    Group(group::GroupArgs),
    /// API keys that callers prove themselves with
    Key(key::KeyArgs),
    Audit(audit::AuditArgs),
    /// Keys that leaders sign access tokens with
    SigningKey(signing_key::SigningKeyArgs),
    /// The nodes of the cluster
    Peer(peer::PeerArgs),
    Promote(promote::PromoteArgs),
    /// A node's upstream addresses
    Target(target::TargetArgs),
    /// Who is told of what happens, and whether it arrives
    Alert(alert::AlertArgs),
    /// Totals of tokens, requests and money
    Stats(stats::StatsArgs),
    /// Usage logs, one by one
    Usage(usage::UsageArgs),
    /// What models cost, and what a call would cost
    Price(price::PriceArgs),
    /// A consistent copy of a running node's database
    Backup(backup::BackupArgs),
    Restore(restore::RestoreArgs),
    /// Move a leader's data from SQLite to PostgreSQL, or back, while its nodes are stopped
    Migrate(migrate::MigrateArgs),
    /// Completions for a shell
    Completions(completions::CompletionsArgs),
}

/// Runs the command that this process was started with.
#[must_use]
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => {
            // Help and version are answers, not mistakes; without a terminal to print on, nothing is left to say.
            let _ = answer.print();
            let code = if answer.exit_code() == 0 { error::DONE } else { error::WRONG_USAGE };
            return ExitCode::from(code);
        }
    };
    match dispatch(cli.command) {
        Ok(()) => ExitCode::from(error::DONE),
        Err(reason) => {
            let code = reason.exit_code();
            if code != error::DONE {
                output::note(&format!("sproxy: {reason}"));
            }
            ExitCode::from(code)
        }
    }
}

fn dispatch(command: Command) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_park(crate::node::allocator::give_back)
        .build()
        .map_err(Error::io("starting the runtime"))?;
    match command {
        Command::Demo(args) => runtime.block_on(run_demo(args)),
        #[cfg(unix)]
        Command::Torture(args) => runtime.block_on(run_torture(args)),
        Command::Serve(args) => runtime.block_on(serve::run(args)),
        Command::MockProvider(args) => runtime.block_on(mock_provider::run(args)),
        Command::Config(args) => runtime.block_on(config::run(args)),
        Command::Login(args) => runtime.block_on(login::run(args)),
        Command::Logout(args) => runtime.block_on(logout::run(args)),
        Command::Token(args) => runtime.block_on(token::run(args)),
        Command::Connect(args) => runtime.block_on(connect::run(&args)),
        Command::Me(args) => runtime.block_on(me::run(args)),
        Command::Doctor(args) => runtime.block_on(doctor::run(args)),
        Command::Agent(args) => runtime.block_on(agent::run(args)),
        Command::User(args) => runtime.block_on(user::run(args)),
        Command::Group(args) => runtime.block_on(group::run(args)),
        Command::Key(args) => runtime.block_on(key::run(args)),
        Command::Audit(args) => runtime.block_on(audit::run(args)),
        Command::SigningKey(args) => runtime.block_on(signing_key::run(args)),
        Command::Peer(args) => runtime.block_on(peer::run(args)),
        Command::Promote(args) => runtime.block_on(promote::run(args)),
        Command::Target(args) => runtime.block_on(target::run(args)),
        Command::Alert(args) => runtime.block_on(alert::run(args)),
        Command::Stats(args) => runtime.block_on(stats::run(args)),
        Command::Usage(args) => runtime.block_on(usage::run(args)),
        Command::Price(args) => price::run(&args),
        Command::Backup(args) => runtime.block_on(backup::run(args)),
        Command::Restore(args) => runtime.block_on(restore::run(args)),
        Command::Migrate(args) => runtime.block_on(migrate::run(args)),
        Command::Completions(args) => completions::run(&args, &mut Cli::command()),
    }
}

/// Books that are not right are no error of the demo, but its exit code says so.
async fn run_demo(args: demo::DemoArgs) -> Result<(), Error> {
    match demo::run(args).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::Verdict),
        Err(reason) => Err(Error::Demo(reason.to_string())),
    }
}

/// The same of the torture.
#[cfg(unix)]
async fn run_torture(args: torture::TortureArgs) -> Result<(), Error> {
    match torture::run(args).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::TortureVerdict),
        Err(reason) => Err(Error::Torture(reason.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
