_base_ = './larger_input.py'
custom_imports = dict(imports=[*_base_.custom_imports['imports'], 'truncation'])

# with PYTHONPATH=projects/body, from the weights of the fourth run: more of LSP and COCO
custom_hooks = _base_.custom_hooks
custom_hooks[-1].hours = 1.3
load_from = 'work_dirs/fourth.pth'

# pipelines: three in ten are cut off by an edge
train_pipeline = _base_.train_pipeline
train_pipeline.insert(1, dict(type='RandomTruncation', prob=0.3))

# data loaders
train_dataloader = dict(
    dataset=dict(
        sample_ratio_factor=[0.3, 1.5, 1.5, 4, 0.5, 1, 2, 4],
        pipeline=train_pipeline,
    )
)
