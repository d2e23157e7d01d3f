//! The unit that starts the agent whenever its person logs in to this machine.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::cli::error::Error;
use crate::cli::output::print;
use crate::cli::whole_file;

/// Writes the unit, and says how it is switched on.
pub fn run(listen: SocketAddr, server: &str) -> Result<(), Error> {
    let program = std::env::current_exe().map_err(Error::io("finding this program"))?;
    let program = program.display().to_string();
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    let home = home.ok_or_else(|| Error::Usage("there is no home directory: set HOME".to_owned()))?;
    let (path, text, next) = if cfg!(target_os = "macos") {
        let path = home.join("Library/LaunchAgents/com.sproxy.agent.plist");
        let next = format!("launchctl load -w {}", path.display());
        (path, plist(&program, listen, server), next)
    } else {
        let given = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let directory = given.unwrap_or_else(|| home.join(".config")).join("systemd/user");
        let next = "systemctl --user enable --now sproxy-agent".to_owned();
        (directory.join("sproxy-agent.service"), unit(&program, listen, server), next)
    };
    let directory = path.parent().map_or(Ok(()), whole_file::private_directory);
    let written = directory.and_then(|()| whole_file::write(&path, text.as_bytes(), 0o644));
    written.map_err(Error::io(format!("writing {}", path.display())))?;
    print(&format!("{} is written; switch it on with: {next}", path.display()))
}

fn unit(program: &str, listen: SocketAddr, server: &str) -> String {
    // systemd expands `%` and `$`, and takes quotes away (systemd.service(5)).
    let quoted = |text: &str| {
        let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
        format!("\"{text}\"")
    };
    format!(
        "[Unit]\nDescription=sproxy agent: a door to the LLM gateway for this machine's clients\nAfter=network.target\n\n\
         [Service]\nExecStart={} agent --listen {listen} --server {}\nRestart=on-failure\nRestartSec=5\n\
         NoNewPrivileges=yes\n\n[Install]\nWantedBy=default.target\n",
        quoted(program),
        quoted(server),
    )
}

fn plist(program: &str, listen: SocketAddr, server: &str) -> String {
    let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let listen = listen.to_string();
    let arguments = [program, "agent", "--listen", &listen, "--server", server];
    let arguments =
        arguments.map(|argument| format!("    <string>{}</string>\n", escaped(argument))).concat();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
         <plist version=\"1.0\">\n<dict>\n  <key>Label</key>\n  <string>com.sproxy.agent</string>\n\
         \x20 <key>ProgramArguments</key>\n  <array>\n{arguments}  </array>\n  <key>RunAtLoad</key>\n  <true/>\n\
         \x20 <key>KeepAlive</key>\n  <true/>\n</dict>\n</plist>\n"
    )
}
