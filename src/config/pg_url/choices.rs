//! The parameters of a URL whose value is one of a few words.

use std::fmt;

/// An enum that is written as one of libpq's words.
macro_rules! choice {
    ($(#[$documentation:meta])* $name:ident { $($(#[$about:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$documentation])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub enum $name { $($(#[$about])* $variant,)+ }

        impl Choice for $name {
            const ALL: &'static [(&'static str, Self)] = &[$(($word, Self::$variant)),+];
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $word),+ })
            }
        }
    };
}

/// One of a few words.
pub(super) trait Choice: Copy + 'static {
    /// Every word, and what it stands for.
    const ALL: &'static [(&'static str, Self)];

    /// What the word stands for.
    fn find(word: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == word);
        found.map(|(_, choice)| *choice)
    }

    /// All words, for an error: `a, b or c`.
    fn words() -> String {
        let words: Vec<&str> = Self::ALL.iter().map(|(word, _)| *word).collect();
        match words.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            _ => words.concat(),
        }
    }
}

choice! {
    /// `sslmode`: how much a connection relies on TLS. Means what it means to libpq, with one exception: where a server's
    /// certificate need not be trusted (`allow`, `prefer`), a root certificate that happens to be there is not looked at,
    /// because what failed its test would be sent without encryption instead.
    SslMode {
        /// Never TLS.
        Disable = "disable",
        /// TLS where the server refuses us without it.
        Allow = "allow",
        /// TLS where the server has it, else none. Protects from nobody who can change what is sent.
        #[default]
        Prefer = "prefer",
        /// TLS, with whomever it may be; where a root certificate is given, the same as `verify-ca`.
        Require = "require",
        /// TLS, with a server whose certificate an authority that is trusted has signed.
        VerifyCa = "verify-ca",
        /// The same, and the certificate has to be for the name of the host.
        VerifyFull = "verify-full",
    }
}

choice! {
    /// `sslnegotiation`: how TLS begins.
    SslNegotiation {
        /// The server is asked whether it has TLS.
        #[default]
        Postgres = "postgres",
        /// TLS begins at once. PostgreSQL 17 and later understand that.
        Direct = "direct",
    }
}

choice! {
    /// `channel_binding`: whether a password's proof is bound to the certificate of the server that asks for it, so that
    /// nobody in between can pass it on.
    ChannelBinding {
        /// Never.
        Disable = "disable",
        /// Where the server offers it.
        #[default]
        Prefer = "prefer",
        /// Always; a connection without it is given up.
        Require = "require",
    }
}

choice! {
    /// `target_session_attrs`: which server of a list will do.
    TargetSessionAttrs {
        /// Any that lets us in.
        #[default]
        Any = "any",
        /// One on which transactions may write.
        ReadWrite = "read-write",
        /// One on which they may not.
        ReadOnly = "read-only",
        /// One that is no stand-by.
        Primary = "primary",
        /// A stand-by.
        Standby = "standby",
        /// A stand-by, or any where there is none.
        PreferStandby = "prefer-standby",
    }
}

impl SslMode {
    /// Whether a connection without TLS is out of the question.
    #[must_use]
    pub fn insists(self) -> bool {
        matches!(self, Self::Require | Self::VerifyCa | Self::VerifyFull)
    }

    /// Whether the server's certificate has to be trusted in any case.
    #[must_use]
    pub fn verifies(self) -> bool {
        matches!(self, Self::VerifyCa | Self::VerifyFull)
    }
}

impl TargetSessionAttrs {
    /// What is meant where the URL does not say: of one server, what it is; of several, the primary. (libpq would take any. But
    /// the slot is on the primary, and the store is written to.)
    #[must_use]
    pub fn default_for(servers: usize) -> Self {
        if servers > 1 { Self::Primary } else { Self::Any }
    }

    /// Whether a server will do that is in recovery or not, and whose transactions are read-only by default or not.
    #[must_use]
    pub fn fits(self, in_recovery: bool, read_only: bool) -> bool {
        match self {
            Self::Any => true,
            Self::ReadWrite => !in_recovery && !read_only,
            Self::ReadOnly => in_recovery || read_only,
            Self::Primary => !in_recovery,
            Self::Standby | Self::PreferStandby => in_recovery,
        }
    }

    /// What is asked of the servers of a list, one round after the other, until one fits.
    #[must_use]
    pub fn rounds(self) -> &'static [Self] {
        match self {
            Self::Any => &[Self::Any],
            Self::ReadWrite => &[Self::ReadWrite],
            Self::ReadOnly => &[Self::ReadOnly],
            Self::Primary => &[Self::Primary],
            Self::Standby => &[Self::Standby],
            Self::PreferStandby => &[Self::Standby, Self::Any],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_printed() {
        for (word, mode) in SslMode::ALL {
            assert_eq!(SslMode::find(word), Some(*mode));
            assert_eq!(mode.to_string(), *word);
        }
        assert_eq!(SslMode::find("off"), None);
        assert_eq!(ChannelBinding::words(), "disable, prefer or require");
    }

    #[test]
    fn which_servers_fit() {
        use TargetSessionAttrs::*;
        // Primary, primary whose transactions are read-only by default, stand-by
        for (attrs, expected) in [
            (Any, [true, true, true]),
            (ReadWrite, [true, false, false]),
            (ReadOnly, [false, true, true]),
            (Primary, [true, true, false]),
            (Standby, [false, false, true]),
        ] {
            let found = [(false, false), (false, true), (true, true)]
                .map(|(in_recovery, read_only)| attrs.fits(in_recovery, read_only));
            assert_eq!(found, expected, "{attrs}");
        }
    }
}
