//! Passwords of a directory: Debian's slapd, with groups that know their members, and nodes before it.

mod sign_in;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::harness::until;

const ROOT: &str = "cn=admin,dc=example,dc=com";
const PASSWORD: &str = "the-directorys-own";
/// Who looks people up.
const READER: &str = "cn=sproxy,dc=example,dc=com";
const READERS_PASSWORD: &str = "reading-only";

/// Three people; alice is in the group that may use models.
const PEOPLE: &str = "dn: dc=example,dc=com
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: ou=people,dc=example,dc=com
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=example,dc=com
objectClass: organizationalUnit
ou: groups

dn: cn=sproxy,dc=example,dc=com
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: sproxy
userPassword: reading-only

dn: uid=alice,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: alice
cn: Alice
sn: Smith
userPassword: alices password

dn: uid=bob,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: bob
cn: Bob
sn: Jones
userPassword: bobs password

dn: uid=admin,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: admin
cn: Admin
sn: Istrator
userPassword: the other admins
";
const GROUP: &str = "dn: cn=llm-devs,ou=groups,dc=example,dc=com
objectClass: groupOfNames
cn: llm-devs
member: uid=alice,ou=people,dc=example,dc=com
";

/// A running slapd.
pub struct Directory {
    process: Option<Child>,
    files: TempDir,
    pub port: u16,
    pub tls_port: u16,
}

impl Directory {
    /// None, with a note, on a machine without slapd.
    pub async fn start() -> Option<Self> {
        if !Path::new("/usr/sbin/slapd").exists() {
            assert!(std::env::var_os("SPROXY_REQUIRE_SLAPD").is_none(), "slapd is not on this machine");
            println!("left out: slapd is not on this machine");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("data")).unwrap();
        let mut started = Self { process: None, files: directory, port: 0, tls_port: 0 };
        started.make_certificate();
        std::fs::write(started.path("slapd.conf"), started.configuration()).unwrap();
        std::fs::write(started.path("people.ldif"), PEOPLE).unwrap();
        let (configuration, people) = (started.path("slapd.conf"), started.path("people.ldif"));
        let added =
            Command::new("/usr/sbin/slapadd").arg("-f").arg(configuration).arg("-l").arg(people).output();
        let added = added.unwrap();
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        // It takes no socket from others: ports are looked for, and others if somebody was faster.
        loop {
            (started.port, started.tls_port) = (unused_port(), unused_port());
            if started.resume().await {
                break;
            }
        }
        // Through the server, which tells alice of it.
        started.change("ldapadd", GROUP);
        Some(started)
    }

    /// False: somebody else has its ports.
    pub async fn resume(&mut self) -> bool {
        let urls = format!("ldap://127.0.0.1:{}/ ldaps://127.0.0.1:{}/", self.port, self.tls_port);
        let mut slapd = Command::new("/usr/sbin/slapd");
        slapd.arg("-f").arg(self.path("slapd.conf")).args(["-d", "0", "-h", &urls]);
        let mut process = slapd.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let port = self.port;
        let listens = until("slapd listens, or is gone", async || {
            if process.try_wait().unwrap().is_some() {
                return Some(false);
            }
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok().map(|_| true)
        })
        .await;
        self.process = Some(process);
        listens
    }

    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Runs `ldapadd`, `ldapmodify` or `ldapdelete` on it.
    pub fn change(&self, program: &str, what: &str) {
        std::fs::write(self.path("change"), what).unwrap();
        let mut command = Command::new(program);
        command.args(["-x", "-H", &self.url(), "-D", ROOT, "-w", PASSWORD, "-f"]).arg(self.path("change"));
        let changed = command.output().unwrap();
        assert!(changed.status.success(), "{}", String::from_utf8_lossy(&changed.stderr));
    }

    pub fn url(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.port)
    }

    pub fn ca_file(&self) -> PathBuf {
        self.path("ca.pem")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn configuration(&self) -> String {
        let path = |name: &str| self.path(name).display().to_string();
        format!(
            "include /etc/ldap/schema/core.schema\n\
             include /etc/ldap/schema/cosine.schema\n\
             include /etc/ldap/schema/inetorgperson.schema\n\
             modulepath /usr/lib/ldap\n\
             moduleload back_mdb\n\
             moduleload memberof\n\
             pidfile {}\n\
             TLSCACertificateFile {}\n\
             TLSCertificateFile {}\n\
             TLSCertificateKeyFile {}\n\
             database mdb\n\
             suffix dc=example,dc=com\n\
             rootdn {ROOT}\n\
             rootpw {PASSWORD}\n\
             directory {}\n\
             overlay memberof\n\
             access to attrs=userPassword by anonymous auth by * none\n\
             access to * by dn.exact=\"{READER}\" read by anonymous auth by * none\n",
            path("pid"),
            path("ca.pem"),
            path("cert.pem"),
            path("key.pem"),
            path("data"),
        )
    }

    /// An authority, and a certificate of it for this machine.
    fn make_certificate(&self) {
        let run = |arguments: &[&str]| {
            let made =
                Command::new("openssl").args(arguments).current_dir(self.files.path()).output().unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        };
        let ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let ca = ["req", "-x509", "-days", "2", "-subj", "/CN=test", "-keyout", "ca.key", "-out", "ca.pem"];
        run(&[&ca[..], &ec[..]].concat());
        let request = ["req", "-subj", "/CN=ldap", "-keyout", "key.pem", "-out", "request.pem"];
        run(&[&request[..], &ec[..]].concat());
        std::fs::write(self.path("names"), "subjectAltName=IP:127.0.0.1").unwrap();
        run(&[
            "x509",
            "-req",
            "-in",
            "request.pem",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            "names",
            "-out",
            "cert.pem",
        ]);
    }
}

fn unused_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.stop();
    }
}
