dnl Managed by dkconf: change the inventory, then dkconf apply. An edit here is shown as drift.
dnl Filters in the order of their calls; one that is off is defined only.
define(`confMILTER_LOG_LEVEL', `14')dnl
ifdef(`confMILTER_MACROS_CONNECT',
`define(`confMILTER_MACROS_CONNECT', defn(`confMILTER_MACROS_CONNECT')``, {client_addr}'')',
`define(`confMILTER_MACROS_CONNECT', ``{client_addr}'')')dnl
ifdef(`confMILTER_MACROS_EOH',
`define(`confMILTER_MACROS_EOH', defn(`confMILTER_MACROS_EOH')``, i, {auth_type}'')',
`define(`confMILTER_MACROS_EOH', ``i, {auth_type}'')')dnl
INPUT_MAIL_FILTER(`checker', `S=inet:8892@127.0.0.1, F=T, T=C:90s;S:30s;R:2m;E:1h')dnl
