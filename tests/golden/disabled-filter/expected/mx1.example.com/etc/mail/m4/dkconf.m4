dnl Managed by dkconf: change the inventory, then dkconf apply. An edit here is shown as drift.
dnl Filters in the order of their calls; one that is off is defined only.
MAIL_FILTER(`signer', `S=inet:8891@127.0.0.1, F=T, T=C:5m;S:10s;R:10s;E:5m')dnl
INPUT_MAIL_FILTER(`checker', `S=inet:8892@127.0.0.1, T=C:5m;S:10s;R:10s;E:5m')dnl
