dnl Managed by dkconf: change the inventory, then dkconf apply. An edit here is shown as drift.
dnl INPUT_MAIL_FILTER: called, in this order.  MAIL_FILTER: defined, not called.
INPUT_MAIL_FILTER(`dk-filter', `S=inet:8892@127.0.0.1, F=T, T=C:5m;S:10s;R:10s;E:5m')dnl
