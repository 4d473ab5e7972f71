-- Run once by a superuser (psql -f roles.sql postgres), before `safelane hub init`. It makes the owner of the schema; the migrations make the
-- roles that the programs use (safelane_worker, safelane_api, safelane_console, safelane_reader, safelane_eraser), with the least that each needs: none
-- of them may change what the message log holds (the eraser may take payloads away whose time is over, and write none), and pg_hba.conf lets nobody else in.
-- Passwords are set afterwards, on the terminal, and stay out of every file and of the server's log:
--   \password safelane_owner        \password safelane_worker        \password safelane_api        \password safelane_console        \password safelane_eraser
CREATE ROLE safelane_owner LOGIN NOSUPERUSER NOCREATEDB CREATEROLE;
CREATE DATABASE safelane OWNER safelane_owner ENCODING 'UTF8' TEMPLATE template0;
