"""JSON routers: translate, call one service, answer."""
