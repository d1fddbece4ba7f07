//! Environment variables that control the shell, the loader or the runtime of a component, or select its Pulsar
//! cluster. A BackendConfig with them could run code in the pods of other users or obtain their credentials.
//!
//! Names are case-sensitive, as in Linux: the shell reads `ENV`, not `env`.

/// Variables by the program that reads them.
const NAMES: &[(&str, &[&str])] = &[
    (
        "a shell",
        &[
            "BASH_ENV",
            "ENV",
            "SHELLOPTS",
            "BASHOPTS",
            "BASH_LOADABLES_PATH",
            "BASH_XTRACEFD",
            "BASH_COMPAT",
            "POSIXLY_CORRECT",
            "PS0",
            "PS1",
            "PS2",
            "PS3",
            "PS4",
            "PROMPT_COMMAND",
            "IFS",
            "CDPATH",
            "GLOBIGNORE",
            "EXECIGNORE",
            "FIGNORE",
            "INPUTRC",
            "ZDOTDIR",
            "PATH",
            "SHELL",
        ],
    ),
    (
        "the loader or the C library",
        &[
            "GLIBC_TUNABLES",
            "GCONV_PATH",
            "LOCPATH",
            "NLSPATH",
            "NIS_PATH",
            "GETCONF_DIR",
            "HOSTALIASES",
            "RESOLV_HOST_CONF",
        ],
    ),
    ("OpenSSL", &["OPENSSL_CONF", "OPENSSL_CONF_INCLUDE", "OPENSSL_ENGINES", "OPENSSL_MODULES"]),
    (
        "the Java runtime",
        &[
            "JAVA_TOOL_OPTIONS",
            "_JAVA_OPTIONS",
            "JDK_JAVA_OPTIONS",
            "JDK_JAVAC_OPTIONS",
            "JAVA_OPTS",
            "JAVA_OPTIONS",
            "JAVA_HOME",
            "CLASSPATH",
        ],
    ),
    (
        "Pulsar's own programs",
        &[
            "OPTS",
            "PULSAR_CLASSPATH",
            "PULSAR_CLIENT_CONF",
            "PULSAR_EXTRA_CLASSPATH",
            "PULSAR_EXTRA_OPTS",
            "PULSAR_GC",
            "PULSAR_GC_LOG",
            "PULSAR_HOME",
            "PULSAR_LOG_CONF",
            "PULSAR_MEM",
            "PULSARCTL_CONFIG",
        ],
    ),
    (
        "the Python runtime",
        &[
            "PYTHONPATH",
            "PYTHONHOME",
            "PYTHONSTARTUP",
            "PYTHONUSERBASE",
            "PYTHONINSPECT",
            "PYTHONBREAKPOINT",
            "PYTHONWARNINGS",
            "PYTHONPLATLIBDIR",
            "PYTHONEXECUTABLE",
            "PYTHONPYCACHEPREFIX",
            "PYTHONCASEOK",
            "PYTHON_PRESITE",
            "__PYVENV_LAUNCHER__",
        ],
    ),
    (
        "the Node.js runtime",
        &[
            "NODE_OPTIONS",
            "NODE_PATH",
            "NODE_EXTRA_CA_CERTS",
            "NODE_REPL_EXTERNAL_MODULE",
            "NODE_TLS_REJECT_UNAUTHORIZED",
        ],
    ),
    ("the Perl runtime", &["PERL5OPT", "PERL5LIB", "PERL5DB", "PERLLIB", "PERL5SHELL", "PERLIO"]),
    ("the Ruby runtime", &["RUBYOPT", "RUBYLIB", "RUBYSHELL"]),
    ("the PHP runtime", &["PHPRC", "PHP_INI_SCAN_DIR"]),
    (
        "the .NET runtime",
        &[
            "DOTNET_STARTUP_HOOKS",
            "DOTNET_ADDITIONAL_DEPS",
            "DOTNET_SHARED_STORE",
            "COR_PROFILER",
            "COR_PROFILER_PATH",
            "COR_ENABLE_PROFILING",
        ],
    ),
    (
        "Git",
        &[
            "GIT_ASKPASS",
            "GIT_EDITOR",
            "GIT_EXEC_PATH",
            "GIT_EXTERNAL_DIFF",
            "GIT_PAGER",
            "GIT_PROXY_COMMAND",
            "GIT_SEQUENCE_EDITOR",
            "GIT_SSH",
            "GIT_SSH_COMMAND",
            "GIT_TEMPLATE_DIR",
            "GIT_ALLOW_PROTOCOL",
            "SSH_ASKPASS",
        ],
    ),
    (
        "a program that starts another",
        &[
            "BROWSER",
            "EDITOR",
            "VISUAL",
            "PAGER",
            "MANPAGER",
            "LESSOPEN",
            "LESSCLOSE",
            "WGETRC",
            "SYSTEM_WGETRC",
            "CURL_HOME",
        ],
    ),
];

/// Prefixes of variables, with the program that reads them.
const PREFIXES: &[(&str, &str)] = &[
    ("LD_", "the loader"),
    ("BASH_FUNC_", "a shell"),
    ("_RLD", "the loader"),
    ("LOG4J_", "the Java runtime's log"),
    ("LUA_", "the Lua runtime"),
    ("CORECLR_", "the .NET runtime"),
    ("GIT_CONFIG", "Git"),
];

/// Settings of the connection to Pulsar. A variable overrides the ConfigMap and the Secret that usually provide them.
const CONNECTION: &[&str] = &[
    "webServiceURL",
    "brokerServiceURL",
    "clientAuthenticationPlugin",
    "clientAuthenticationParameters",
    "tlsAllowInsecureConnection",
    "tlsHostnameVerificationEnable",
    "tlsTrustCertsFilePath",
    "useTls",
];
/// Prefix of the settings of the package service.
const PACKAGE_PREFIX: &str = "PACKAGE_";

/// The error of an unsafe variable in a BackendConfig, or None for a safe one.
pub fn unsafe_variable(name: &str) -> Option<String> {
    let reader = NAMES.iter().find_map(|(reader, names)| names.contains(&name).then_some(*reader));
    let by_prefix =
        || PREFIXES.iter().find_map(|(prefix, reader)| name.starts_with(prefix).then_some(*reader));
    // npm ignores case.
    let npm =
        || name.get(..11).is_some_and(|start| start.eq_ignore_ascii_case("npm_config_")).then_some("npm");
    if let Some(reader) = reader.or_else(by_prefix).or_else(npm) {
        return Some(format!("controls {reader} in all pods that use this BackendConfig; {REMEDY}"));
    }
    let setting = name.strip_prefix(PACKAGE_PREFIX).unwrap_or(name);
    CONNECTION
        .contains(&setting)
        .then(|| format!("selects the Pulsar cluster of all pods that use this BackendConfig; {REMEDY}"))
}

/// The error of an exec probe in a BackendConfig.
pub(super) fn unsafe_probe() -> String {
    format!("runs a command in all pods that use this BackendConfig; {REMEDY}")
}

const REMEDY: &str =
    "set it on the components instead, or run the operator with --allow-unsafe-backend-config";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_unsafe_variables() {
        for name in [
            "BASH_ENV",
            "ENV",
            "PS4",
            "LD_PRELOAD",
            "LD_AUDIT",
            "LD_ANYTHING_NEW",
            "GLIBC_TUNABLES",
            "JAVA_TOOL_OPTIONS",
            "_JAVA_OPTIONS",
            "JDK_JAVA_OPTIONS",
            "PYTHONPATH",
            "PYTHONSTARTUP",
            "NODE_OPTIONS",
            "PERL5OPT",
            "GIT_SSH_COMMAND",
            "GIT_CONFIG_COUNT",
            "GIT_CONFIG_KEY_0",
            "BASH_FUNC_java%%",
            "BASH_FUNC_x()",
            "PATH",
            "NPM_CONFIG_SCRIPT_SHELL",
            "npm_config_script_shell",
            "LOG4J_CONFIGURATION_FILE",
            "PULSAR_EXTRA_OPTS",
            "brokerServiceURL",
            "PACKAGE_webServiceURL",
            "clientAuthenticationParameters",
        ] {
            assert!(unsafe_variable(name).is_some(), "{name}");
        }
    }

    #[test]
    fn accepts_ordinary_variables() {
        for name in [
            "env",
            "Path",
            "A",
            "STAGE",
            "LDAP_URL",
            "HTTP_PROXY",
            "https_proxy",
            "NO_PROXY",
            "LANG",
            "LC_ALL",
            "TZ",
            "HOME",
            "PYTHONUNBUFFERED",
            "PYTHONDONTWRITEBYTECODE",
            "GIT_COMMIT",
            "GIT_BRANCH",
            "JAVA_VERSION",
            "NODE_ENV",
            "NODE_NAME",
            "GOMAXPROCS",
            "GOMEMLIMIT",
            "MALLOC_ARENA_MAX",
            "OTEL_SERVICE_NAME",
            "SSL_CERT_FILE",
            "LOGGING_LEVEL",
            "npm",
            "",
        ] {
            assert_eq!(unsafe_variable(name), None, "{name}");
        }
    }
}
