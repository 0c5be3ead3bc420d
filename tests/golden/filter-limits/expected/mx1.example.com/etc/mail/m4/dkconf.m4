dnl Managed by dkconf: change the inventory, then dkconf apply. An edit here is shown as drift.
dnl Filters in the order of their calls; one that is off is defined only.
INPUT_MAIL_FILTER(`signer', `S=local:/run/dkconf/signer.sock, F=T, T=C:5m;S:10s;R:10s;E:5m')dnl
