"""stub"""
import gradio as gr
from loop.study import Study
def build_admin_page(study: Study) -> gr.Blocks:
    with gr.Blocks(analytics_enabled=False) as blocks:
        gr.HTML("admin")
    return blocks
