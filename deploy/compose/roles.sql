-- The roles and the database, made once, when PostgreSQL starts with an empty volume (docs/postgresql.md).
--   evc_owner    owns the tables: makes and migrates them, by the service `migrate`
--   evc_runtime  what an instance needs and no more: it cannot change or delete what was recorded, but by functions of the owner, on record
--   evc          what the instances connect as
\set owner_password `cat /run/secrets/database-owner-password`
\set password `cat /run/secrets/database-password`
CREATE ROLE evc_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE evc_runtime NOLOGIN;
CREATE ROLE evc LOGIN PASSWORD :'password' IN ROLE evc_runtime;
CREATE DATABASE evc OWNER evc_owner ENCODING 'UTF8' TEMPLATE template0;
REVOKE CONNECT ON DATABASE evc FROM PUBLIC;
GRANT CONNECT ON DATABASE evc TO evc_runtime;
