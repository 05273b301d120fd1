"""The pages that woq writes: read as HTML and as XML, both of which they are."""
import html.parser
import re
import xml.etree.ElementTree as xml

SVG = "{http://www.w3.org/1999/xhtml}"  # SVG elements inherit the page's namespace when it is read as XML


class Balance(html.parser.HTMLParser):
    """Tags that close, in the order in which they opened."""

    def __init__(self):
        super().__init__()
        self.open, self.wrong = [], []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append((tag, self.getpos()))


def parse(page):
    """The text's tree, and what is wrong: tags without a partner, what comes from elsewhere, numbers that are none."""
    balance = Balance()
    balance.feed(page)
    balance.close()
    faults = [f"open: {balance.open}"] if balance.open else []
    faults += balance.wrong + re.findall(r"\b(?:src|href)=|url\(|@import", page)
    tree = xml.fromstring(page)
    for element in tree.iter():
        for key, value in element.attrib.items():
            if key in ("x", "y", "cx", "cy", "r", "width", "height", "d", "viewBox", "data-v"):
                if re.search("nan|inf", value, re.I):
                    faults.append(f"{element.tag} {key}='{value[:60]}'")
    return tree, faults


def texts(tree, tag, **attributes):
    return ["".join(e.itertext()) for e in tree.iter(SVG + tag)
            if all(e.get(k.rstrip("_")) == v for k, v in attributes.items())]
