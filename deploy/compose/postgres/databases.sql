-- Creates the databases of users and orders when the volume is initialized. Each has an owner with access to no other.
\set users `cat /run/secrets/postgres_users_password`
\set orders `cat /run/secrets/postgres_orders_password`
create user "shop-users" password :'users';
create user "shop-orders" password :'orders';
create database users_db owner "shop-users";
create database orders_db owner "shop-orders";
revoke connect on database shop, users_db, orders_db from public;
