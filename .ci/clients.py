"""Validates prices by jsonschema; buys, lists and refunds by the client that openapi-python-client has generated.

usage: clients.py DOCUMENT URL
"""
import datetime, json, sys

from jsonschema import Draft202012Validator
from shop_api.api.v1 import create_purchase, list_purchases, refund_purchase
from shop_api.client import AuthenticatedClient
from shop_api.models import Page, Problem, Published, PurchaseRequest, RefundRequest

document, url = json.load(open(sys.argv[1], encoding="utf-8")), sys.argv[2]


def validator(name):
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": document["components"]})


purchase, order = validator("PurchaseRequest"), validator("OrderRequest")
for cents in range(1, 10_000):
    # As a program reads and writes the number, and as text.
    for price in (json.loads(f"{cents // 100}.{cents % 100:02}"), f"{cents // 100}.{cents % 100:02}"):
        purchase.validate({"username": "ada", "userid": "u1", "price": price})
        order.validate({"user_id": 1, "product": "tea", "quantity": 1, "total_price": price})
refused = ({"price": -0.01}, {"price": "1e2"}, {"price": 1, "userid": " "}, {"price": 1, "username": "\u202eada"})
for members in refused:
    assert not purchase.is_valid({"username": "ada", "userid": "u1"} | members), members
assert not order.is_valid({"user_id": 1, "product": "tea", "quantity": 0, "total_price": 1})

client = AuthenticatedClient(base_url=url, token="none")
prices = [0.07, 0.14, 29.99]
for price in prices:
    bought = create_purchase.sync(client=client, body=PurchaseRequest(price=price, userid="python", username="ada"))
    assert isinstance(bought, Published), bought
page = list_purchases.sync(client=client, userid="python", wait_for=bought.purchase.id)
assert isinstance(page, Page) and [item.price for item in page.items] == prices[::-1], page
coffee = PurchaseRequest(price=5.8, userid="python", username="ada", item="coffee", quantity=2, reference="order-7")
bought = create_purchase.sync(client=client, body=coffee)
page = list_purchases.sync(client=client, reference="order-7", wait_for=bought.purchase.id)
assert [(item.item, item.quantity, item.id) for item in page.items] == [("coffee", 2, bought.purchase.id)], page
refund = refund_purchase.sync(bought.purchase.id, client=client, body=RefundRequest(amount=2.9, reason="cold"))
assert isinstance(refund, Published), refund
assert (refund.purchase.price, refund.purchase.of, refund.purchase.reason) == (-2.9, bought.purchase.id, "cold"), refund
naive = PurchaseRequest(price=1, userid="python", username="ada", timestamp=datetime.datetime(2026, 1, 1))
assert isinstance(create_purchase.sync(client=client, body=naive), Problem), "a time without an offset"
print("Python: jsonschema accepts every price; the generated client buys, lists and refunds")
