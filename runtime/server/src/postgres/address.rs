//! Where the database is, and how to get there.

use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio_postgres::config::{Config, Host, SslMode, TargetSessionAttrs};
use tokio_postgres::{Client, NoTls};

use super::schema;
use super::tls::Verified;
use super::trouble::Trouble;

/// The variable that other programs of PostgreSQL read, too.
const PASSWORD: &str = "PGPASSWORD";
/// To a host, unless the address says otherwise.
const CONNECT: Duration = Duration::from_secs(2);

/// What holds for each connection: nobody waits long for another one's row, and what is done is on
/// disk, whatever the database does by default.
const SESSION: &str = "
SET lock_timeout = '2s';
SET default_transaction_isolation = 'read committed';
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
";

/// The address of a database, without a password.
#[derive(Clone)]
pub struct Address {
    config: Config,
    password_file: Option<PathBuf>,
    authority: Option<PathBuf>,
}

impl Address {
    /// Reads one, `postgresql://user@host/database` for example. With `authority`, a file of
    /// certificates in PEM, every connection is under TLS with a host that it vouches for; without
    /// one, hosts must be on this machine unless `allow_plaintext`. The password is the first line
    /// of `password_file`, or that of the environment.
    ///
    /// # Errors
    /// What is wrong with it, without what may be secret.
    pub fn parse(
        text: &str,
        password_file: Option<PathBuf>,
        authority: Option<PathBuf>,
        allow_plaintext: bool,
    ) -> Result<Address, String> {
        let mut config: Config = text.parse().map_err(|error: tokio_postgres::Error| {
            let why = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
            format!("this is no address of a database, as postgresql://user@host/database is{why}")
        })?;
        if config.get_password().is_some() {
            let where_else = "a file that password_file names, or the environment's";
            return Err(format!("a password does not belong here, but into {where_else} {PASSWORD}"));
        }
        let known = |what: &str| Err(format!("the address has no {what}, as postgresql://user@host/database has"));
        if config.get_user().is_none() {
            return known("user");
        }
        if config.get_dbname().is_none() {
            return known("database");
        }
        if config.get_hosts().is_empty() {
            return known("host");
        }
        match (&authority, config.get_ssl_mode()) {
            (Some(_), SslMode::Disable) => return Err("sslmode=disable and an authority exclude each other".into()),
            (None, SslMode::Require) => {
                return Err("sslmode=require needs authority: the certificates that vouch for the host".into());
            }
            _ => {}
        }
        let is_here = |host: &Host| match host {
            Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback()),
            Host::Unix(_) => true,
        };
        let addresses = config.get_hostaddrs();
        let here = config.get_hosts().iter().all(is_here) && addresses.iter().all(std::net::IpAddr::is_loopback);
        if authority.is_none() && !here && !allow_plaintext {
            return Err("a connection to another machine would be neither encrypted nor authenticated: authority \
                        protects it, allow_plaintext permits it"
                .into());
        }
        if authority.is_some() && config.get_hosts().iter().any(|host| matches!(host, Host::Unix(_))) {
            return Err("a socket of this machine has no TLS: leave authority out".into());
        }
        config.ssl_mode(if authority.is_some() { SslMode::Require } else { SslMode::Disable });
        // One that takes no changes is no use.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        if config.get_application_name().is_none() {
            config.application_name("fusion-server");
        }
        Ok(Address { config, password_file, authority })
    }

    /// A connection, with the tables that there have to be. Password and authority are read anew
    /// each time.
    pub async fn connect(&self) -> Result<Link, Trouble> {
        let mut config = self.config.clone();
        if let Some(password) = self.password()? {
            config.password(password);
        }
        let (mut client, task) = match &self.authority {
            Some(path) => {
                let (client, connection) = config.connect(Verified::by(path)?).await?;
                (client, tokio::spawn(async move { drop(connection.await) }).abort_handle())
            }
            None => {
                let (client, connection) = config.connect(NoTls).await?;
                (client, tokio::spawn(async move { drop(connection.await) }).abort_handle())
            }
        };
        let guard = Guard(task);
        client.batch_execute(SESSION).await?;
        schema::prepare(&mut client).await?;
        Ok(Link { client, spoilt: AtomicBool::new(false), _guard: guard })
    }

    fn password(&self) -> Result<Option<String>, Trouble> {
        let Some(path) = &self.password_file else { return Ok(std::env::var(PASSWORD).ok()) };
        let text = std::fs::read_to_string(path)
            .map_err(|error| Trouble::Unfit(format!("{} cannot be read: {error}", path.display())))?;
        Ok(Some(text.lines().next().unwrap_or_default().to_owned()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostgreSQL at ")?;
        let ports = self.config.get_ports();
        for (number, host) in self.config.get_hosts().iter().enumerate() {
            let port = ports.get(number).or(ports.first()).copied().unwrap_or(5432);
            let comma = if number == 0 { "" } else { "," };
            match host {
                Host::Tcp(name) => write!(f, "{comma}{name}:{port}")?,
                Host::Unix(path) => write!(f, "{comma}{}:{port}", path.display())?,
            }
        }
        write!(f, "/{}", self.config.get_dbname().unwrap_or_default())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A connection to the database.
pub struct Link {
    client: Client,
    spoilt: AtomicBool,
    _guard: Guard,
}

/// Ends what keeps a connection going, which else might wait for a host that is gone.
struct Guard(AbortHandle);

impl Link {
    /// It is not to be used again.
    pub fn spoil(&self) {
        self.spoilt.store(true, Ordering::Relaxed);
    }

    /// Whether it may be used.
    pub fn stands(&self) -> bool {
        !self.spoilt.load(Ordering::Relaxed) && !self.client.is_closed()
    }
}

impl Deref for Link {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, authority: bool, allow_plaintext: bool) -> Result<Address, String> {
        Address::parse(text, None, authority.then(|| "ca.pem".into()), allow_plaintext)
    }

    #[test]
    fn addresses_lead_to_this_machine_or_are_protected() {
        for (text, authority, allow_plaintext, name) in [
            ("postgresql://ann@localhost/b", false, false, "PostgreSQL at localhost:5432/b"),
            ("postgres://ann@[::1]:99/b", false, false, "PostgreSQL at ::1:99/b"),
            ("postgresql://ann@%2Frun%2Fpostgresql/b", false, false, "PostgreSQL at /run/postgresql:5432/b"),
            ("postgresql://ann@db1:1,db2:2/b", true, false, "PostgreSQL at db1:1,db2:2/b"),
            ("postgresql://ann@192.0.2.1/b?sslmode=require", true, false, "PostgreSQL at 192.0.2.1:5432/b"),
            ("postgresql://ann@db/b", false, true, "PostgreSQL at db:5432/b"),
        ] {
            let address = parse(text, authority, allow_plaintext).unwrap();
            assert_eq!((address.to_string(), format!("{address:?}")), (name.to_owned(), name.to_owned()));
            let mode = address.config.get_ssl_mode();
            assert_eq!(mode, if authority { SslMode::Require } else { SslMode::Disable }, "{text}");
        }
        for (text, authority, why) in [
            ("postgresql://ann@db/b", false, "authority protects it"),
            ("postgresql://ann@127.0.0.1,db/b", false, "authority protects it"),
            ("host=localhost hostaddr=192.0.2.1 user=ann dbname=b", false, "authority protects it"),
            ("postgresql://ann@db/b?sslmode=require", false, "needs authority"),
            ("postgresql://ann@db/b?sslmode=disable", true, "exclude each other"),
            ("postgresql://ann@%2Frun%2Fpostgresql/b", true, "has no TLS"),
            ("postgresql://db/b", true, "has no user"),
            ("postgresql://ann@db", true, "has no database"),
            ("postgresql://ann@/b", true, "has no host"),
            ("postgresql://ann@db/b?what=else", true, "unknown option `what`"),
            ("b.redb", true, "no address of a database"),
        ] {
            let said = parse(text, authority, false).unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_repeated() {
        for text in ["postgresql://ann:hunter2@localhost/b", "host=localhost user=ann dbname=b password=hunter2"] {
            let said = parse(text, false, false).unwrap_err();
            assert!(
                said.contains("password_file") && said.contains("PGPASSWORD") && !said.contains("hunter2"),
                "{said}"
            );
        }
        let broken = parse("postgresql://ann:hunter2@localhost:port/b", false, false).unwrap_err();
        assert!(!broken.contains("hunter2"), "{broken}");
    }
}
